"""Networks in other people's programs: what the library guide shows, as short programs."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from flax.traverse_util import flatten_dict

from jax_resnet import optim
from jax_resnet.models import create_model, feature_info
from jax_resnet.train import cross_entropy
from tests.helpers.quick import jit, trained

TINY: dict[str, Any] = {"stage_sizes": (1, 1), "widths": (8, 16)}
IMAGES = jax.random.normal(jax.random.key(7), (4, 8, 8, 3))
LABELS = jnp.asarray([0, 1, 2, 3])


def loss_of(model: nn.Module, variables: Any, *, train: bool = False) -> Callable[[Any], jax.Array]:
    """The mean loss as a function of the parameters."""

    def loss(params: Any) -> jax.Array:
        logits, _ = model.apply({**variables, "params": params}, IMAGES, train=train, mutable=["batch_stats"])
        return cross_entropy(logits, LABELS).mean()

    return loss


@pytest.fixture(scope="module")
def model() -> Any:
    return create_model("resnet8", **TINY)


@pytest.fixture(scope="module")
def variables(model: Any) -> Any:
    return trained(model, IMAGES.shape[1:])


def test_flax_nnx_runs_a_network_through_its_bridge(model: Any) -> None:
    network = nnx.bridge.ToNNX(model, rngs=nnx.Rngs(0)).lazy_init(IMAGES, train=False)
    stats = np.array(network.stem_norm["mean"][...])
    logits = network(IMAGES, train=False)
    assert logits.shape == (4, 10)

    # Training moves the running statistics in place.
    network(IMAGES, train=True, mutable=["batch_stats"])
    assert not np.array_equal(network.stem_norm["mean"][...], stats)

    @nnx.jit
    def gradients(network: Any) -> Any:
        def loss(network: Any) -> jax.Array:
            return cross_entropy(network(IMAGES, train=True, mutable=["batch_stats"]), LABELS).mean()

        return nnx.grad(loss)(network)

    grads = jax.tree.leaves(gradients(network))
    assert len(grads) > 10
    assert all(np.isfinite(g).all() for g in grads)
    assert max(np.abs(g).max() for g in grads) > 0


class Segmenter(nn.Module):
    """Classes per pixel, from the feature maps of a network."""

    backbone: Any
    num_classes: int

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        maps = self.backbone.features(images, train=train)
        x = nn.Conv(self.num_classes, (1, 1), name="classifier")(maps["stage2"])
        return jax.image.resize(x, (*images.shape[:3], self.num_classes), "bilinear")


def test_the_features_of_a_stage_feed_another_module(model: Any, variables: Any) -> None:
    segmenter = Segmenter(model.clone(num_classes=0, parent=None), num_classes=5)
    fresh = segmenter.init(jax.random.key(0), IMAGES, train=False)
    kernel = fresh["params"]["classifier"]["kernel"]
    assert kernel.shape == (1, 1, feature_info(model)["stage2"].channels, 5)
    # Pretrained weights go in by name, without the head.
    params = {"backbone": {k: v for k, v in variables["params"].items() if k != "head"}}
    loaded = {
        "params": {**params, "classifier": fresh["params"]["classifier"]},
        "batch_stats": {"backbone": variables["batch_stats"]},
    }
    assert jax.tree.structure(loaded) == jax.tree.structure(dict(fresh))
    out, updated = segmenter.apply(loaded, IMAGES, train=True, mutable=["batch_stats"])
    assert out.shape == (4, 8, 8, 5)
    assert set(updated["batch_stats"]) == {"backbone"}


def test_fine_tuning_trains_a_fresh_head_on_frozen_stages(variables: Any) -> None:
    model = create_model("resnet8", **TINY, num_classes=4, frozen=("stem", "stage1"))
    fresh = model.init(jax.random.key(0), IMAGES, train=False)
    params = {**variables["params"], "head": fresh["params"]["head"]}
    stats = variables["batch_stats"]
    tx = optim.freeze(optim.sgd(0.1), "stem", "stage1")
    opt_state = tx.init(params)

    @jit
    def step(params: Any, stats: Any, opt_state: Any) -> Any:
        def loss(params: Any) -> Any:
            variables = {"params": params, "batch_stats": stats}
            logits, updated = model.apply(variables, IMAGES, train=True, mutable=["batch_stats"])
            return cross_entropy(logits, LABELS).mean(), updated["batch_stats"]

        (value, stats_), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt_state_ = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), stats_, opt_state_, value

    first = {"params": params, "batch_stats": stats}
    losses = []
    for _ in range(10):
        params, stats, opt_state, value = step(params, stats, opt_state)
        losses.append(float(value))
    assert losses[-1] < 0.5 * losses[0]
    now = flatten_dict({"params": params, "batch_stats": stats})
    for path, before in flatten_dict(first).items():
        frozen = path[1].startswith(("stem", "stage1"))
        assert np.array_equal(now[path], before) == frozen, path


def test_gradients_per_example_average_to_the_batchs(model: Any, variables: Any) -> None:
    def loss(params: Any, image: jax.Array, label: jax.Array) -> jax.Array:
        logits = model.apply({**variables, "params": params}, image[None], train=False)
        return cross_entropy(logits, label[None])[0]

    each = jit(jax.vmap(jax.grad(loss), (None, 0, 0)))(variables["params"], IMAGES, LABELS)
    whole = jit(jax.grad(loss_of(model, variables)))(variables["params"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a.mean(0), b, rtol=1e-3, atol=1e-5), each, whole)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.slow
def test_hessian_vector_products_by_either_mode_agree(model: Any, variables: Any, train: bool) -> None:
    gradient = jax.grad(loss_of(model.clone(act=nn.tanh), variables, train=train))
    params = variables["params"]
    vector = jax.tree.map(lambda p: jnp.sin(jnp.arange(p.size, dtype=p.dtype)).reshape(p.shape), params)

    @jit
    def products(params: Any) -> Any:
        forward_over_reverse = jax.jvp(gradient, (params,), (vector,))[1]
        reverse_over_reverse = jax.grad(lambda p: optax.tree.vdot(gradient(p), vector))(params)
        return forward_over_reverse, reverse_over_reverse

    one, other = products(params)
    size = float(optax.tree.norm(one))
    assert size > 0.1
    assert float(optax.tree.norm(optax.tree.sub(one, other))) < 1e-3 * size


@pytest.mark.usefixtures("standard_promotion")
def test_a_loop_of_ones_own_takes_any_optax_optimizer(model: Any) -> None:
    variables = model.init(jax.random.key(0), IMAGES, train=False)
    tx = optax.adamw(1e-2, mask=optim.decay_mask)

    @jit
    def step(variables: Any, opt_state: Any) -> Any:
        def loss(params: Any) -> Any:
            logits, updated = model.apply(
                {**variables, "params": params}, IMAGES, train=True, mutable=["batch_stats"]
            )
            labels = jax.nn.one_hot(LABELS, 10)
            return optax.softmax_cross_entropy(logits, labels).mean(), updated

        (value, updated), grads = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        updates, opt_state = tx.update(grads, opt_state, variables["params"])
        return {"params": optax.apply_updates(variables["params"], updates), **updated}, opt_state, value

    opt_state, losses = tx.init(variables["params"]), []
    for _ in range(15):
        variables, opt_state, value = step(variables, opt_state)
        losses.append(float(value))
    assert losses[-1] < 0.3 * losses[0]


SHARDED = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from jax_resnet.models import create_model

model = create_model("resnet8", stage_sizes=(1, 1), widths=(8, 16))
images = jax.random.normal(jax.random.key(7), (8, 8, 8, 3))
variables = model.init(jax.random.key(0), images, train=False)
step = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]))
alone = step(variables, images)

mesh = Mesh(np.array(jax.devices()), ("data",))
assert mesh.size == 4, mesh
spread = jax.device_put(images, NamedSharding(mesh, P("data")))
copies = jax.device_put(variables, NamedSharding(mesh, P()))
together = step(copies, spread)
assert together[0].sharding.device_set == set(jax.devices())
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), together, alone)
print("same")
"""


@pytest.mark.slow
def test_a_batch_is_spread_over_a_mesh_by_hand() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHARDED],
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4",
        },
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "same", done.stderr[-2000:]
