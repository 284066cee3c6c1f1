"""The process on the CPU that reads a checkpoint of another device, see ``checkpoint``."""

import json
import sys

import numpy as np

from experiments.doctor.accelerator.checkpoint import ARCH, differing, host_leaves, logits_of, make_state
from jax_resnet import checkpoint

__all__ = ["main"]


def main(run: str, here: str, exported: str) -> None:
    """Restores the run, compares it with the arrays in ``here``, and exports its weights."""
    with np.load(here) as file:
        written = dict(file)
    with checkpoint.Checkpointer(run) as checkpointer:
        state = checkpointer.restore(make_state())
    assert state is not None
    _, variables, _ = checkpoint.restore(run)
    checkpoint.save(exported, variables, {"model": {"name": ARCH, "num_classes": 10}})
    answer = {
        "arrays": len(written),
        "differing": differing(host_leaves(state), written),
        "logits": logits_of(variables).tolist(),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
