"""BatchNorm in programs that forbid implicit promotion of dtypes and ranks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_resnet.layers import BatchNorm, conv_implementation


@pytest.mark.parametrize("implementation", ["auto", "xla"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.slow
def test_nothing_is_promoted(implementation: Any, dtype: Any, train: bool) -> None:
    x = jax.random.normal(jax.random.key(0), (4, 5, 6, 8)).astype(dtype)
    norm = BatchNorm(dtype=dtype)
    variables = norm.init(jax.random.key(1), x, train=False)

    def run() -> Any:
        def loss(params: Any, x: jax.Array) -> jax.Array:
            y, _ = norm.apply(
                {**variables, "params": params},
                x,
                train=train,
                residual=x,
                relu=True,
                mutable=["batch_stats"],
            )
            return jnp.sum(jnp.sin(y.astype(jnp.float32)))

        gradient = jax.grad(loss, (0, 1))
        params = variables["params"]
        tangents = jax.tree.map(jnp.ones_like, (params, x))
        return gradient(params, x), jax.jvp(gradient, (params, x), tangents)[1]

    with conv_implementation(implementation):
        expected = run()
        with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
            jax.tree.map(np.testing.assert_array_equal, run(), expected)
