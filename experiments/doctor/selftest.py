"""A self-test of some seconds: logits, training, a checkpoint."""

import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.doctor import reference
from experiments.doctor.config import DoctorConfig
from experiments.doctor.failure import failure
from experiments.doctor.finding import Finding, ok, problem
from jax_resnet import checkpoint, optim
from jax_resnet.models import create_model
from jax_resnet.train import TrainState, create_state, make_train_step

__all__ = ["NETWORK", "SHAPE", "self_test"]

NETWORK: dict[str, Any] = {"name": "resnet8", "num_classes": 10, "widths": (4, 8, 16)}
SHAPE = (8, 8, 3)
LARGEST_DEVIATION = 1e-4  # in float32, relative to the largest logit
TRAINING_STEPS = 20
REPORT = "report this with the whole output"


def self_test(config: DoctorConfig) -> Iterator[Finding]:
    """Each part by itself: one that fails does not lose the others."""
    model = create_model(**NETWORK)
    state = create_state(model, optim.sgd(0.1, momentum=0.9), jax.random.key(0), SHAPE)
    parts: tuple[Callable[..., Finding], ...] = (forward, training, round_trip)
    for part in parts:
        try:
            begun = time.perf_counter()
            finding = part(model, state)
            finding.values["seconds"] = time.perf_counter() - begun
            yield finding
        except Exception as error:
            yield failure("self-test", error)


def forward(model: Any, state: TrainState) -> Finding:
    """Logits against the same network in NumPy and float64."""
    images = np.random.default_rng(1).standard_normal((4, *SHAPE))
    variables = reference.fill(state.variables)
    expected = reference.logits(variables, images)
    with jax.default_matmul_precision("highest"):
        narrow = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), variables)
        found = jax.jit(lambda v, x: model.apply(v, x, train=False))(narrow, jnp.asarray(images, jnp.float32))
    deviation = float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())
    text = f"logits against NumPy's in float64: relative deviation {deviation:.1e}"
    if not deviation <= LARGEST_DEVIATION:
        advice = f"it should be below {LARGEST_DEVIATION:g}: try JAX_RESNET_CONV=xla, and {REPORT}"
        return problem("self-test", text, advice, deviation=deviation)
    return ok("self-test", text, deviation=deviation)


def training(model: Any, state: TrainState) -> Finding:
    """A network memorizes a batch."""
    step = jax.jit(make_train_step(model, optim.sgd(0.1, momentum=0.9)))
    batch = {"image": jax.random.normal(jax.random.key(1), (8, *SHAPE)), "label": jnp.arange(8)}
    losses = []
    for _ in range(TRAINING_STEPS):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"] / metrics["count"]))
    text = f"the loss falls from {losses[0]:.2f} to {losses[-1]:.2f} in {TRAINING_STEPS} training steps"
    if not losses[-1] < losses[0] / 2:
        text = f"the loss goes from {losses[0]:.2f} to {losses[-1]:.2f} in {TRAINING_STEPS} training steps"
        return problem("self-test", text, f"it should halve: try JAX_RESNET_CONV=xla, and {REPORT}")
    return ok("self-test", text, first=losses[0], last=losses[-1])


def round_trip(model: Any, state: TrainState) -> Finding:
    """A training state goes to the disk and back."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        checkpoint.Checkpointer(folder) as checkpointer,
    ):
        checkpointer.save(state, {"model": NETWORK})
        checkpointer.wait()
        restored = checkpointer.restore(state)
    written, read = (leaves(tree) for tree in (state, restored))
    wrong = sum(a.dtype != b.dtype or a.tobytes() != b.tobytes() for a, b in zip(written, read, strict=True))
    if wrong:
        return problem(
            "self-test", f"a checkpoint came back with {wrong} other arrays of {len(written)}", REPORT
        )
    return ok("self-test", f"a checkpoint came back equal to the bit, {len(written)} arrays")


def leaves(state: Any) -> list[np.ndarray]:
    """All arrays of a state on the host."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state.replace(key=jax.random.key_data(state.key)))]
