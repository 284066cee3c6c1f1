"""The GroupNorm adapter is flax's GroupNorm, and networks train with it."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jax_resnet.averaging import reestimate_batch_stats
from jax_resnet.models import GroupNorm, create_model, fold_batch_norm

NORM = partial(GroupNorm, num_groups=4)
TINY: dict[str, Any] = {"stage_sizes": (1, 2), "widths": (8, 16), "norm": NORM}


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_it_equals_flaxs(dtype: Any) -> None:
    x = (3 + jax.random.normal(jax.random.key(0), (2, 4, 4, 8))).astype(dtype)
    params = {"scale": jnp.arange(1.0, 9.0), "bias": jnp.arange(8.0)}
    ours = GroupNorm(num_groups=4, dtype=dtype)
    assert jax.tree.map(jnp.shape, ours.init(jax.random.key(0), x, train=True)["params"]) == {
        "bias": (8,),
        "scale": (8,),
    }
    expected = nn.GroupNorm(num_groups=4, epsilon=1e-5, dtype=dtype).apply({"params": params}, x)
    for train in (True, False):
        y = ours.apply({"params": params}, x, train=train)
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, expected)
    y = ours.apply({"params": params}, x, train=True, residual=-x, relu=True)
    np.testing.assert_array_equal(y, nn.relu(expected - x))


@pytest.mark.parametrize("name", ["resnet20", "preact_resnet18"])
def test_a_network_has_no_statistics_and_treats_each_image_by_itself(name: str) -> None:
    model = create_model(name, **TINY)
    images = jax.random.normal(jax.random.key(7), (4, 8, 8, 3))
    variables = model.init(jax.random.key(0), images, train=False)
    assert set(variables) == {"params"}
    logits = model.apply(variables, images, train=True)
    np.testing.assert_allclose(model.apply(variables, images[:1], train=False), logits[:1], rtol=1e-4)


def test_what_needs_batch_norm_is_refused() -> None:
    images = jnp.ones((1, 8, 8, 3))
    model = create_model("resnet20", **TINY)
    variables = model.init(jax.random.key(0), images, train=False)
    with pytest.raises(ValueError, match="this ResNet has no BatchNorm to fold"):
        fold_batch_norm(model, variables)
    with pytest.raises(ValueError, match="this ResNet has no BatchNorm"):
        reestimate_batch_stats(model, variables, [images])
    frozen = create_model("resnet20", **TINY, frozen="stem")
    with pytest.raises(ValueError, match="GroupNorm has no running statistics to freeze"):
        frozen.init(jax.random.key(0), images, train=False)
    odd = create_model("resnet20", **{**TINY, "norm": partial(GroupNorm, num_groups=5)})
    with pytest.raises(ValueError, match="num_groups=5 does not divide 8 channels"):
        odd.init(jax.random.key(0), images, train=False)
