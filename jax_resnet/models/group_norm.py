"""Group normalization for networks whose batches are too small for BatchNorm."""

from typing import Any

import jax
from flax import linen as nn

from jax_resnet.errors import ModelError
from jax_resnet.layers.dtypes import wide_dtype

__all__ = ["GroupNorm"]


class GroupNorm(nn.Module):
    """flax's GroupNorm (Wu and He 2018) with the fields and the call of ``layers.BatchNorm``.

    ``create_model("resnet50", norm=GroupNorm)``; networks with fewer channels need fewer groups:
    ``create_model("resnet20", norm=functools.partial(GroupNorm, num_groups=8))``. Each example is normalized
    by itself, in training and in evaluation alike: there are no running statistics, and no ``batch_stats``.

    Attributes:
        num_groups: Groups of channels; must divide the channels of every layer.
        momentum: Not used; there are no running statistics.
        epsilon: Added to the variance.
        dtype: dtype of the output; that of the input where None.
        frozen: Must be False: there are no running statistics to freeze.
        scale_init: Initializer of ``scale``.
    """

    num_groups: int = 32
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = None
    frozen: bool = False
    scale_init: jax.nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, residual: jax.Array | None = None, relu: bool = False
    ) -> jax.Array:
        """Maps ``(N, ..., channels)`` to the same shape; ``train`` changes nothing.

        Raises:
            ModelError: ``frozen``, or the groups do not divide the channels.
        """
        channels = x.shape[-1]
        if self.frozen:
            raise ModelError("frozen: GroupNorm has no running statistics to freeze; leave it out")
        if self.num_groups < 1 or channels % self.num_groups:
            raise ModelError(f"num_groups={self.num_groups} does not divide {channels} channels of a layer")
        norm = nn.GroupNorm(
            self.num_groups,
            epsilon=self.epsilon,
            dtype=wide_dtype(x.dtype),
            scale_init=self.scale_init,
        )
        nn.share_scope(self, norm)  # its parameters are this module's own: ``scale`` and ``bias``
        dtype = self.dtype or x.dtype
        y = norm(x.astype(wide_dtype(x.dtype))).astype(dtype)
        y = y if residual is None else y + residual.astype(dtype)
        return nn.relu(y) if relu else y
