"""Follows a reference: two forward passes and three steps with the library's own step and optimizer."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jax_resnet.convert import to_torch
from jax_resnet.optim import sgd
from jax_resnet.train import TrainState, make_train_step
from tests.golden.references import Reference

# Each program runs a few times only: on CPU, compiling it is most of the work.
COMPILE_QUICKLY = {"xla_backend_optimization_level": 0}


class Trajectory(NamedTuple):
    """The numbers of a run, under PyTorch's names.

    Attributes:
        parameters: Number of trainable parameters.
        eval_logits: Logits by the running statistics.
        train_logits: Logits by the batch's statistics.
        stats: Running statistics after the first step.
        grad_norms: Norms of the gradients of the first step, before weight decay.
        losses: Losses before each of the three steps.
        final_logits: Logits by the running statistics, after the three steps.
    """

    parameters: int
    eval_logits: np.ndarray
    train_logits: np.ndarray
    stats: dict[str, np.ndarray]
    grad_norms: dict[str, float]
    losses: list[float]
    final_logits: np.ndarray


def style_of(reference: Reference) -> str:
    """The style of names of the reference's weights."""
    if "resnext50" in reference.meta["name"] and reference.meta["name"].startswith("seed"):
        return "blog"
    if "norm1.weight" in reference.state_dict:
        return "seminar"
    return "torchvision" if "fc.weight" in reference.state_dict else "pytorch_cifar"


def follow(reference: Reference, dtype: Any) -> Trajectory:
    """Runs the network in ``dtype``; float64 needs ``jax.enable_x64``."""
    model = reference.model(dtype=dtype)
    variables = jax.tree.map(lambda x: jnp.asarray(x, dtype), reference.variables(model))
    images = jnp.asarray(reference.images, dtype)
    jit = partial(jax.jit, compiler_options=COMPILE_QUICKLY if jax.default_backend() == "cpu" else None)

    @jit
    def evaluate(variables: Any) -> jax.Array:
        return model.apply(variables, images, train=False)

    @jit
    def train(variables: Any) -> jax.Array:
        return model.apply(variables, images, train=True, mutable=["batch_stats"])[0]

    settings = reference.meta["sgd"]
    decay = settings["weight_decay"]
    tx = sgd(settings["lr"], momentum=settings["momentum"], weight_decay=decay)
    params = variables["params"]
    state = TrainState(
        step=jnp.int32(0),
        params=params,
        batch_stats=variables["batch_stats"],
        opt_state=tx.init(params),
        key=jax.random.key(0),
    )
    step = jit(make_train_step(model, tx, augment=lambda keys, images: images))
    batch = {
        "image": images,
        "label": jnp.asarray(reference.labels, jnp.int32),
        "index": jnp.arange(len(images), dtype=jnp.int32),
    }
    losses = []
    for i in range(3):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"] / metrics["count"]))
        if i == 0:
            # The first momentum buffer is the gradient and the weight decay.
            trace = optax.tree_utils.tree_get(state.opt_state, "trace")
            grads = jax.tree.map(lambda m, p: m - decay * p, trace, params)
            first = to_torch({"params": grads, "batch_stats": state.batch_stats}, model, style_of(reference))
    return Trajectory(
        parameters=sum(x.size for x in jax.tree.leaves(params)),
        eval_logits=np.asarray(evaluate(variables)),
        train_logits=np.asarray(train(variables)),
        stats={f"stats/{key}": value for key, value in first.items() if "running" in key},
        grad_norms={
            k: float(np.linalg.norm(v)) for k, v in first.items() if k in reference.meta["grad_norms_step0"]
        },
        losses=losses,
        final_logits=np.asarray(evaluate(state.variables)),
    )
