"""A checkpoint written on the device, read by a process on the CPU, and carried back: equal to the bit."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.doctor.config import DoctorConfig
from experiments.doctor.finding import Finding, ok, problem
from jax_resnet import checkpoint, optim
from jax_resnet.models import create_model
from jax_resnet.train import TrainState, create_state, make_train_step

__all__ = ["ARCH", "BATCH_SIZE", "carried", "differing", "host_leaves", "logits_of", "make_state"]

ARCH, BATCH_SIZE = "resnet20", 16
CPU_SECONDS = 180
LARGEST_DEVIATION = 1e-4  # of float32 logits at the highest precision, relative to the largest


def carried(config: DoctorConfig) -> Iterator[Finding]:
    """Device to CPU and back."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        run, here, exported = Path(folder) / "run", Path(folder) / "here.npz", Path(folder) / "exported"
        state = trained_state()
        with checkpoint.Checkpointer(run) as checkpointer:
            checkpointer.save(state, {"model": {"name": ARCH, "num_classes": 10}})
        logits = logits_of(state.eval_variables)
        np.savez(here, **host_leaves(state))  # type: ignore[arg-type]
        answer = read_on_cpu(run, here, exported)
        if "error" in answer:
            yield problem(
                "checkpoint", f"a process on the CPU could not read it: {answer['error']}", "report this"
            )
            return
        count, step = answer["arrays"], int(state.step)
        if answer["differing"]:
            differ = answer["differing"]
            text = f"{len(differ)} of {count} arrays differ on the CPU, the first is {differ[0]}"
            yield problem("checkpoint", text, "report this with the whole output")
        else:
            platform = jax.default_backend()
            yield ok(
                "checkpoint",
                f"step {step} of {ARCH} written on {platform}, read on cpu: {count} arrays equal to the bit",
            )
        deviation = float(np.abs(np.asarray(answer["logits"]) - logits).max() / np.abs(logits).max())
        text = f"logits on cpu and here: relative deviation {deviation:.1e}"
        if deviation <= LARGEST_DEVIATION:
            yield ok("checkpoint", text, deviation=deviation)
        else:
            yield problem(
                "checkpoint",
                text,
                f"it should be below {LARGEST_DEVIATION:g}: report this",
                deviation=deviation,
            )
        back = checkpoint.restore(exported).variables
        wrong = differing(flat(back), flat(state.eval_variables))
        if wrong:
            yield problem("checkpoint", f"exported on cpu, restored here: {wrong[0]} differs", "report this")
        else:
            yield ok("checkpoint", "exported by the CPU's process, restored here: equal to the bit")


def make_state() -> TrainState:
    """A fresh training state of the network; on every device its shapes are the same."""
    model = create_model(ARCH, num_classes=10)
    return create_state(model, optimizer(), jax.random.key(0), (32, 32, 3))


def optimizer() -> Any:
    """SGD with momentum, so that there is an optimizer's state to keep."""
    return optim.sgd(0.05, momentum=0.9, weight_decay=5e-4)


def trained_state() -> TrainState:
    """The state after three training steps on this device."""
    step = jax.jit(make_train_step(create_model(ARCH, num_classes=10), optimizer()))
    state, batch = make_state(), {"image": images(), "label": jnp.arange(BATCH_SIZE) % 10}
    for _ in range(3):
        state, _ = step(state, batch)
    return jax.block_until_ready(state)


def images() -> jax.Array:
    """The same normalized images in every process."""
    return jnp.asarray(np.random.default_rng(0).standard_normal((BATCH_SIZE, 32, 32, 3)), jnp.float32)


def logits_of(variables: Any) -> np.ndarray:
    """The network's logits of ``images``, in float32 at the highest precision."""
    model = create_model(ARCH, num_classes=10)
    with jax.default_matmul_precision("highest"):
        return np.asarray(jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, images()))


def host_leaves(state: TrainState) -> dict[str, np.ndarray]:
    """All arrays of a state by their paths, on the host."""
    return flat(state.replace(key=jax.random.key_data(state.key)))


def flat(tree: Any) -> dict[str, np.ndarray]:
    """All arrays of a tree by their paths, on the host."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}


def differing(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> list[str]:
    """Names of the arrays that are not equal to the bit."""
    if left.keys() != right.keys():
        return sorted(left.keys() ^ right.keys())
    return [
        name
        for name in left
        if left[name].dtype != right[name].dtype or left[name].tobytes() != right[name].tobytes()
    ]


def read_on_cpu(run: Path, here: Path, exported: Path) -> dict[str, Any]:
    """What ``cpu_side`` answers, or its error."""
    command = [
        sys.executable,
        "-m",
        "experiments.doctor.accelerator.cpu_side",
        *map(str, (run, here, exported)),
    ]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=CPU_SECONDS,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode == 0:
            answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            return answer
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {CPU_SECONDS} s"}
    lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit status {done.returncode}"]
    return {"error": lines[-1]}
