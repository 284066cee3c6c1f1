"""A program that saves checkpoints and stops in the middle of a deletion, to be killed there.

python -m tests.checkpoint.deleting RUN FILES: prints "deleting" when FILES files of checkpoints are deleted.
"""

import os
import sys
import time

import jax

from jax_resnet import checkpoint, optim, train
from jax_resnet.models import create_model
from tests.checkpoint.common import CONFIG, at

ACCURACIES = (0.5, 0.7, 0.6, 0.4, 0.65)


def main() -> None:
    run, files = sys.argv[1], int(sys.argv[2])
    unlink, deleted = os.unlink, []

    def stopping_unlink(path: object, **options: object) -> None:
        unlink(path, **options)
        if _is_of_a_checkpoint(path, options.get("dir_fd")):
            deleted.append(path)
        if len(deleted) >= files:
            print("deleting", flush=True)
            time.sleep(100)

    os.unlink = stopping_unlink
    state = train.create_state(create_model("resnet8"), optim.sgd(0.1), jax.random.key(3), (8, 8, 3))
    with checkpoint.Checkpointer(run) as checkpointer:
        for step, accuracy in enumerate(ACCURACIES, 1):
            checkpointer.save(at(state, step), CONFIG, accuracy, {"examples": step})


def _is_of_a_checkpoint(path: object, folder: int | None) -> bool:
    """Whether a file is in a whole checkpoint, be it renamed: not a draft."""
    name = os.fspath(path) if folder is None else f"{os.readlink(f'/proc/self/fd/{folder}')}/{path}"
    return any(part.isdigit() for part in name.partition("/checkpoints/")[2].split("/"))


if __name__ == "__main__":
    main()
