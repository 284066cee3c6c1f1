"""Helpers for tests that run a small network once: then compiling and drawing are most of the work."""

from functools import partial
from typing import Any

import jax
import numpy as np
from flax.traverse_util import unflatten_dict

from jax_resnet.convert.template import template

jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def trained(model: Any, image_shape: tuple[int, int, int]) -> dict[str, Any]:
    """Variables with scales, biases and statistics away from ones and zeros, as after training."""
    rng = np.random.default_rng(0)

    def draw(path: tuple[str, ...], shape: tuple[int, ...]) -> np.ndarray:
        noise = rng.standard_normal(shape)
        if path[-1] == "kernel":
            return noise * np.sqrt(2 / np.prod(shape[:-1]))
        return 1 + 0.2 * np.abs(noise) if path[-1] in ("scale", "var") else 0.2 * noise

    shapes = template(model, image_shape)
    return {
        "batch_stats": {},
        **unflatten_dict({p: draw(p, s).astype(np.float32) for p, s in shapes.items()}),
    }
