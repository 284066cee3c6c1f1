"""Channels and strides of a network's feature maps."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

__all__ = ["FeatureInfo", "feature_info"]

# Large enough that borders do not show in the ratio of sizes.
_SIZE = 1024


class FeatureInfo(NamedTuple):
    """One feature map.

    Attributes:
        channels: Channels of the map.
        stride: Pixels of the image per pixel of the map, in both directions.
    """

    channels: int
    stride: int


def feature_info(model: Any) -> dict[str, FeatureInfo]:
    """Channels and strides of the maps that ``method="features"`` returns; nothing is computed.

    >>> from jax_resnet.models import create_model
    >>> for name, info in feature_info(create_model("resnet50", stem="imagenet")).items():
    ...     print(name, info.channels, info.stride)
    stem 64 4
    stage1 256 4
    stage2 512 8
    stage3 1024 16
    stage4 2048 32

    Args:
        model: A network that ``create_model`` made.
    """

    def maps(key: jax.Array, image: jax.Array) -> dict[str, jax.Array]:
        return model.init_with_output(key, image, train=False, method="features")[0]

    key = jax.eval_shape(lambda: jax.random.key(0))
    found = jax.eval_shape(maps, key, jax.ShapeDtypeStruct((1, _SIZE, _SIZE, 3), jnp.float32))
    # A traced dict comes back in alphabetical order: stage10 before stage2, and the stem last.
    in_order = sorted(found, key=lambda name: (len(name), name))
    return {
        name: FeatureInfo(found[name].shape[-1], round(_SIZE / found[name].shape[1])) for name in in_order
    }
