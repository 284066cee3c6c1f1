"""What is timed in JAX, with this library's layers or flax's."""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike

from experiments.bench.case import MATMUL_SIZE, Case, LayerShape
from jax_resnet import optim
from jax_resnet.layers import BatchNorm, conv_general_dilated, conv_implementation
from jax_resnet.models import create_model, fold_batch_norm
from jax_resnet.train import create_state, make_train_step

__all__ = [
    "DTYPES",
    "FlaxNorm",
    "Step",
    "evaluation_step",
    "layer_step",
    "make_network",
    "matrix_product",
    "prepare",
    "training_step",
    "waiting_step",
]

Step = Callable[[], None]
DTYPES = {"f32": jnp.float32, "bf16": jnp.bfloat16}


class FlaxNorm(nn.Module):
    """flax's own BatchNorm behind the interface of ours, for users without this library's layers."""

    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: DTypeLike | None = None
    frozen: bool = False
    scale_init: jax.nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, residual: jax.Array | None = None, relu: bool = False
    ) -> jax.Array:
        """Maps ``(..., channels)`` to the same shape."""
        norm = nn.BatchNorm(
            use_running_average=not train or self.frozen,
            momentum=self.momentum,
            epsilon=self.epsilon,
            dtype=self.dtype,
            scale_init=self.scale_init,
        )
        y = norm(x)
        y = y if residual is None else y + residual
        return nn.relu(y) if relu else y


def prepare(case: Case) -> tuple[Step, int]:
    """Returns a function that runs one step and waits for it, and the number of parameters."""
    if case.framework == "matmul":
        return matrix_product(case), 0
    conv: Any = "xla" if case.framework == "flax" else case.conv
    with conv_implementation(conv):
        if case.layer:
            return layer_step(case, case.layer)
        return training_step(case) if case.task == "train" else evaluation_step(case)


def make_network(case: Case) -> nn.Module:
    """Builds the network of a case."""
    options = dict(case.options, dtype=DTYPES[case.dtype])
    if case.framework == "flax":
        options["norm"] = FlaxNorm
    return create_model(case.arch, **options)


def training_step(case: Case) -> tuple[Step, int]:
    """A whole training step: forward, backward, SGD with momentum and weight decay."""
    model = make_network(case)
    tx = optim.sgd(0.1, momentum=0.9, weight_decay=5e-4)
    shape = (case.image_size, case.image_size, 3)
    state = create_state(model, tx, jax.random.key(0), shape)
    random = np.random.default_rng(0)
    batch = {
        "image": jnp.asarray(random.standard_normal((case.batch_size, *shape), np.float32)),
        "label": jnp.asarray(random.integers(0, 10, case.batch_size), jnp.int32),
        "index": jnp.arange(case.batch_size, dtype=jnp.int32),
    }
    step = make_train_step(model, tx, lambda keys, images: images)
    compiled = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))

    def run() -> None:
        nonlocal state
        for _ in range(case.steps_per_wait):
            state, _ = compiled(state, batch)
        jax.block_until_ready(state)

    return run, parameters


def evaluation_step(case: Case) -> tuple[Step, int]:
    """Logits of a batch in evaluation mode."""
    model = make_network(case)
    shape = (case.image_size, case.image_size, 3)
    variables = jax.jit(model.init, static_argnames="train")(
        jax.random.key(0), jnp.zeros((1, *shape)), train=False
    )
    if case.folded:
        model, variables = fold_batch_norm(model, variables)
        variables = jax.device_put(variables)
    images = jnp.asarray(np.random.default_rng(0).standard_normal((case.batch_size, *shape), np.float32))
    apply = jax.jit(lambda variables, images: model.apply(variables, images, train=False))
    compiled = apply.lower(variables, images).compile()
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    return waiting_step(lambda: compiled(variables, images)), parameters


def layer_step(case: Case, layer: LayerShape) -> tuple[Step, int]:
    """One layer's output and the gradients of its input and parameters."""
    dtype = DTYPES[case.dtype]
    random = np.random.default_rng(0)
    x = jnp.asarray(random.standard_normal((case.batch_size, layer.size, layer.size, layer.inputs)), dtype)
    module: Any
    if layer.kernel:
        module = nn.Conv(
            layer.outputs,
            (layer.kernel, layer.kernel),
            strides=layer.strides,
            padding=layer.kernel // 2,
            feature_group_count=layer.groups,
            use_bias=False,
            dtype=dtype,
            conv_general_dilated=conv_general_dilated,
        )
        variables, options = module.init(jax.random.key(0), x), {}
    else:
        module = (FlaxNorm if case.framework == "flax" else BatchNorm)(dtype=dtype)
        variables = module.init(jax.random.key(0), x, train=True)
        options = {"train": True, "relu": True, "mutable": ["batch_stats"]}
    y = jax.eval_shape(lambda v, x: _first(module.apply(v, x, **options)), variables, x)
    gradient = jnp.asarray(random.standard_normal(y.shape), dtype)

    def forward_and_backward(variables: Any, x: jax.Array, gradient: jax.Array) -> Any:
        y, pull = jax.vjp(lambda v, x: _first(module.apply(v, x, **options)), variables, x)
        return y, pull(gradient)

    compiled = jax.jit(forward_and_backward).lower(variables, x, gradient).compile()
    return waiting_step(lambda: compiled(variables, x, gradient)), 0


def _first(result: Any) -> jax.Array:
    return result[0] if isinstance(result, tuple) else result


def matrix_product(case: Case) -> Step:
    """A square matrix product: XLA's, or the equal convolution with one pixel where that is faster."""
    random = np.random.default_rng(0)
    a = jnp.asarray(random.standard_normal((MATMUL_SIZE, MATMUL_SIZE)), DTYPES[case.dtype])
    pixels = functools.partial(
        conv_general_dilated,
        window_strides=(1, 1),
        padding="VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    products = (jnp.matmul, lambda a, b: pixels(a[None, None], b[None, None])[0, 0])
    steps = [
        waiting_step(functools.partial(jax.jit(product).lower(a, a).compile(), a, a)) for product in products
    ]
    return min(steps, key=_fastest_seconds)


def _fastest_seconds(step: Step) -> float:
    step()
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def waiting_step(compute: Callable[[], Any]) -> Step:
    """Returns a step that computes and waits for the result."""

    def run() -> None:
        jax.block_until_ready(compute())

    return run
