"""The guide's example of transformations and a loop of one's own, executed as it stands."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import jax_resnet
from jax_resnet import optim
from jax_resnet.models import create_model


@pytest.mark.slow
def test_the_example_of_transformations_runs() -> None:
    text = (Path(jax_resnet.__file__).parent / "README.md").read_text(encoding="utf-8")
    start = text.index("def loss(params, images, labels)")
    model = create_model("resnet8", widths=(4, 8, 8))
    devices = jax.device_count()
    images = jax.random.normal(jax.random.key(0), (4 * devices, 16, 16, 3))
    labels = jnp.arange(4 * devices) % 10
    variables = model.init(jax.random.key(0), images, train=False)
    names: dict[str, Any] = {
        **{"jax": jax, "optax": optax, "optim": optim, "model": model, "variables": variables},
        **{
            "images": images,
            "labels": labels,
            "NamedSharding": NamedSharding,
            "PartitionSpec": PartitionSpec,
        },
    }
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        exec(text[start : text.index("```", start)], names)
    assert names["value"] > 1
    assert all(g.shape[0] == 4 * devices for g in jax.tree.leaves(names["per_example"]))
    assert 0 < float(optax.tree.norm(names["product"])) < np.inf
    expected = model.apply(names["variables"], images, train=False)
    np.testing.assert_allclose(names["logits"], expected, rtol=1e-3, atol=1e-4)
