"""Residual blocks: basic and bottleneck, activated after (2015) or before (2016) each convolution.

ResNeXt, wide, squeeze-and-excitation and stochastic-depth networks are these blocks with other numbers.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import linen as nn

from jax_resnet.models.fold import FoldedNorm

Shortcut = Literal["A", "B", "C", "D", "none"]
LayerDef = Callable[..., nn.Module]


def pad_channels(x: jax.Array, filters: int, side: Literal["both", "end"]) -> jax.Array:
    """Zero-pads the channels of NHWC ``x`` up to ``filters``, on both sides or all at the end."""
    missing = filters - x.shape[-1]
    before = missing // 2 if side == "both" else 0
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (before, missing - before)))


class SqueezeExcite(nn.Module):
    """Channel attention (Hu et al. 2018, section 3): rescales channels by a gate made of their means."""

    reduction: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps NHWC to NHWC."""
        channels = x.shape[-1]
        gate = jnp.mean(x, (1, 2))
        gate = nn.relu(nn.Dense(channels // self.reduction, dtype=self.dtype, name="reduce")(gate))
        gate = nn.sigmoid(nn.Dense(channels, dtype=self.dtype, name="expand")(gate))
        return x * gate[:, None, None, :]


class Block(nn.Module):
    """The residual block; subclasses say only which convolutions it holds.

    Maps ``(N, H, W, C)`` to ``(N, H / strides, W / strides, expansion * filters)``.

    Attributes:
        filters: Base width of the stage: 64, 128, 256, 512 in the ImageNet networks.
        strides: Of the block, in both directions.
        conv: Builds a convolution from ``(features, kernel_size, strides=, padding=)``.
        norm: Builds a BatchNorm.
        expansion: Output channels over ``filters``.
        shortcut: He et al. 2015, sections 3.3 and 4.1. "A": identity, subsampled and zero-padded where
            the shape changes; "B": a projection where the shape changes; "C": a projection in every
            block; "D": as B after a 2x2 average pool (He et al. 2018, "Bag of tricks", figure 2c);
            "none": no shortcut, which makes a plain network.
        shortcut_padding: Where option A puts its new channels.
        preactivation: BatchNorm and ReLU come before each convolution (He et al. 2016, figure 4e).
        preactivated: The input is activated already, as after the stem (He et al. 2016, appendix).
        project_input: With ``preactivation``, the projection sees the block's input, not the activated one.
        zero_init_residual: Start every block as its shortcut (Goyal et al. 2017, section 5.1).
        se_reduction: Squeeze-and-excitation with this reduction; 0 for none.
        drop_path: Probability of dropping the residual branch of an example (Huang et al. 2016).
        dropout: Rate before the last convolution (Zagoruyko and Komodakis 2016, section 2.4).
        folded: Each BatchNorm that follows a convolution is folded into it, see ``fold_batch_norm``.
        dtype: In which the block computes.
    """

    filters: int
    strides: int
    conv: LayerDef
    norm: LayerDef
    expansion: int = 1
    shortcut: Shortcut = "B"
    shortcut_padding: Literal["both", "end"] = "both"
    preactivation: bool = False
    preactivated: bool = False
    project_input: bool = False
    zero_init_residual: bool = False
    se_reduction: int = 0
    drop_path: float = 0.0
    dropout: float = 0.0
    folded: bool = False
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        if self.shortcut not in get_args(Shortcut):
            options = ", ".join(map(repr, get_args(Shortcut)))
            raise ValueError(f"shortcut is one of {options}, not {self.shortcut!r}")
        super().__post_init__()

    @property
    def features(self) -> int:
        """Channels of the output."""
        return self.filters * self.expansion

    def convolutions(self) -> list[LayerDef]:
        """The convolutions of the residual branch, first to last."""
        raise NotImplementedError

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """See the class."""
        *convs, last_conv = self.convolutions()
        dropout = nn.Dropout(self.dropout, deterministic=not train)
        norm_after_conv: LayerDef = FoldedNorm if self.folded else self.norm
        init_last = {}
        if self.zero_init_residual and not self.folded:
            init_last = {"kernel_init" if self.preactivation else "scale_init": nn.initializers.zeros}

        if self.preactivation:
            y = x if self.preactivated else self.norm(name="norm1")(x, train=train, relu=True)
            residual = self.residual(x, activated=x if self.project_input else y, train=train)
            for i, conv in enumerate(convs, 1):
                y = conv(name=f"conv{i}")(y)
                y = norm_after_conv(name=f"norm{i + 1}")(y, train=train, relu=True)
            y = last_conv(name=f"conv{len(convs) + 1}", **init_last)(dropout(y))
            y = self.recalibrate(y, train=train)
            return y if residual is None else y + residual

        residual, y = self.residual(x, activated=x, train=train), x
        for i, conv in enumerate(convs, 1):
            y = conv(name=f"conv{i}")(y)
            y = norm_after_conv(name=f"norm{i}")(y, train=train, relu=True)
        y = last_conv(name=f"conv{len(convs) + 1}")(dropout(y))
        last_norm = norm_after_conv(name=f"norm{len(convs) + 1}", **init_last)
        if not self.se_reduction and not self.drop_path:
            return last_norm(y, train=train, residual=residual, relu=True)
        y = self.recalibrate(last_norm(y, train=train), train=train)
        return nn.relu(y if residual is None else y + residual)

    def residual(self, x: jax.Array, *, activated: jax.Array, train: bool) -> jax.Array | None:
        """What the shortcut carries: ``x``, or ``activated`` resized; None in a plain network."""
        resized = self.strides != 1 or x.shape[-1] != self.features
        if self.shortcut == "none":
            return None
        if not resized and self.shortcut != "C":
            return x
        if self.shortcut == "A":
            x = activated[:, :: self.strides, :: self.strides]
            return pad_channels(x, self.features, self.shortcut_padding)
        x, strides = activated, self.strides
        if self.shortcut == "D" and strides > 1:
            x = nn.avg_pool(x, (strides, strides), (strides, strides), "SAME", count_include_pad=False)
            strides = 1
        x = self.conv(self.features, (1, 1), strides=strides, padding=0, name="shortcut_conv")(x)
        if self.preactivation:  # The sum stays unnormalized: nothing may stand on the identity path.
            return x
        norm: LayerDef = FoldedNorm if self.folded else self.norm
        return norm(name="shortcut_norm")(x, train=train)

    def recalibrate(self, y: jax.Array, *, train: bool) -> jax.Array:
        """Squeeze-and-excitation and stochastic depth on the residual branch, where they are asked for."""
        if self.se_reduction:
            y = SqueezeExcite(self.se_reduction, self.dtype, name="se")(y)
        if self.drop_path:
            # One draw an example; the survivors are scaled up, so that evaluation needs no change.
            y = nn.Dropout(self.drop_path, broadcast_dims=(1, 2, 3), deterministic=not train)(y)
        return y


class BasicBlock(Block):
    """Two 3x3 convolutions (He et al. 2015, figure 5 left)."""

    def convolutions(self) -> list[LayerDef]:
        """See ``Block``."""
        return [
            partial(self.conv, self.filters, (3, 3), strides=self.strides, padding=1),
            partial(self.conv, self.features, (3, 3), padding=1),
        ]


class BottleneckBlock(Block):
    """1x1, 3x3, 1x1 convolutions (He et al. 2015, figure 5 right); grouped, ResNeXt's (Xie et al. 2017).

    Attributes:
        cardinality: Groups of the 3x3 convolution.
        base_width: Channels of a group in a stage of 64 filters, in proportion elsewhere.
        stride_on: Which convolution subsamples: "conv2", the 3x3, as PyTorch has it, or "conv1", as the
            2015 paper does.
    """

    expansion: int = 4
    cardinality: int = 1
    base_width: int = 64
    stride_on: Literal["conv1", "conv2"] = "conv2"

    def convolutions(self) -> list[LayerDef]:
        """See ``Block``."""
        width = self.filters * self.base_width // 64 * self.cardinality
        first, second = (self.strides, 1) if self.stride_on == "conv1" else (1, self.strides)
        return [
            partial(self.conv, width, (1, 1), strides=first, padding=0),
            partial(
                self.conv, width, (3, 3), strides=second, padding=1, feature_group_count=self.cardinality
            ),
            partial(self.conv, self.features, (1, 1), padding=0),
        ]
