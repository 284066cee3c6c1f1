"""On accelerators the networks are XLA's own operations: nothing of this library is in their programs."""

import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from experiments.doctor.config import DoctorConfig
from experiments.doctor.finding import Finding, note, ok, problem
from jax_resnet import optim
from jax_resnet.data.augment import make_augment
from jax_resnet.models import create_model
from jax_resnet.train import create_state, make_train_step

__all__ = ["foreign_operations", "programs"]

NETWORKS = ("resnet20", "resnext29_2x64d")
PLATFORMS = ("cuda", "tpu")


def programs(config: DoctorConfig) -> Iterator[Finding]:
    """Training steps, lowered for each platform here and compiled for the one at hand."""
    for name in NETWORKS:
        traced = traced_step(name)
        for platform in PLATFORMS:
            text = traced.lower(lowering_platforms=(platform,)).as_text()
            ours, others = foreign_operations(text)
            count = len(re.findall(r"stablehlo\.convolution", text))
            what = f"{name}'s training step for {platform}"
            if ours:
                yield problem(
                    "programs", f"{what} has operations of this library: {', '.join(ours)}", "report this"
                )
            elif others:
                yield note(
                    "programs",
                    f"{what}: nothing of this library, {count} convolutions, and {', '.join(others)}",
                )
            else:
                yield ok("programs", f"{what}: XLA's operations alone, {count} convolutions")
    if jax.default_backend() != "cpu":
        compiled = traced_step(NETWORKS[0]).lower().compile().as_text() or ""
        if "jax_resnet" in re.sub(r"metadata=\{[^}]*\}", "", compiled):
            yield problem("programs", f"{NETWORKS[0]} as compiled here calls this library", "report this")


def traced_step(name: str) -> Any:
    """A training step with augmentation, traced for a batch of 16 images."""
    model, tx = create_model(name, num_classes=10), optim.sgd(0.1)
    state = jax.eval_shape(lambda: create_state(model, tx, jax.random.key(0), (32, 32, 3)))
    batch = {
        "image": jax.ShapeDtypeStruct((16, 32, 32, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct((16,), jnp.int32),
        "index": jax.ShapeDtypeStruct((16,), jnp.int32),
    }
    step = make_train_step(model, tx, make_augment((0.5,) * 3, (0.25,) * 3))
    return jax.jit(step).trace(state, batch)


def foreign_operations(text: str) -> tuple[list[str], list[str]]:
    """What is in a lowered program beside XLA's plain operations.

    Returns:
        What this library puts there for a CPU, calls and branches by platform; and calls that JAX makes.
    """
    calls = set(re.findall(r"custom_call @?\"?([\w.]+)", text))
    ours = {call for call in calls if call.startswith("jax_resnet")}
    branches = {"case", "if", "optimization_barrier"} & set(re.findall(r"stablehlo\.(\w+)", text))
    return sorted({*ours, *branches}), sorted(calls - ours)
