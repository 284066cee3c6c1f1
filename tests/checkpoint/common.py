"""A small network's state, and runs to damage."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np

from jax_resnet import checkpoint

CONFIG = {"model": {"name": "resnet8", "num_classes": 10}, "data": {"mean": [0.5], "std": [0.25]}}

KINDS = ("missing", "empty", "truncated", "bit-flipped", "list", "object", "noise", "folder")


def at(state, step):
    """The state of another step, with parameters to tell it by."""
    params = jax.tree.map(lambda p: p + step, state.params)
    return state.replace(step=jnp.asarray(step, jnp.int32), params=params)


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def same(a, b):
    """Whether two trees hold the same numbers."""
    if jax.tree.structure(a) != jax.tree.structure(b):
        return False
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def save_run(folder, state, accuracies):
    """Saves steps 1, 2, ... with these accuracies."""
    with checkpoint.Checkpointer(folder) as checkpointer:
        for step, accuracy in enumerate(accuracies, 1):
            checkpointer.save(at(state, step), CONFIG, accuracy, {"examples": step})


def files(folder):
    """Every file of a checkpoint, relative to it."""
    return sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file())


def largest_file(folder):
    return max((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)


def damage(file, kind):
    """Damages a file in one of ``KINDS``."""
    content = file.read_bytes()
    file.unlink()
    if kind == "folder":
        file.mkdir()
    elif kind != "missing":
        flipped = bytearray(content)
        flipped[len(flipped) // 2] ^= 1
        contents = {
            "empty": b"",
            "truncated": content[: len(content) // 2],
            "bit-flipped": bytes(flipped),
            "list": b"[1]",
            "object": b"{}",
            "noise": np.random.default_rng(0).bytes(1_000_000),
        }
        file.write_bytes(contents[kind])


def copy(run, folder):
    """A copy of a run to damage."""
    shutil.copytree(run, folder)
    return folder
