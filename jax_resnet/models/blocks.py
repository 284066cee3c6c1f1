"""Residual blocks: basic and bottleneck, activated after (2015) or before (2016) each convolution.

ResNeXt, wide, squeeze-and-excitation and stochastic-depth networks are these blocks with other numbers.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jax_resnet.errors import ModelError
from jax_resnet.layers.pool import average_pool
from jax_resnet.models.activation import Activation, check_activation, normalize_and_activate
from jax_resnet.models.folded import convolve_and_activate
from jax_resnet.models.limits import check_channels, check_choice, check_count, check_probability

__all__ = ["BasicBlock", "Block", "BottleneckBlock", "LayerDef", "Shortcut", "SqueezeExcite", "pad_channels"]

Shortcut = Literal["A", "B", "C", "D", "none"]
LayerDef = Callable[..., nn.Module]


def pad_channels(x: jax.Array, filters: int, side: Literal["both", "end"]) -> jax.Array:
    """Zero-pads the channels of NHWC ``x`` up to ``filters``, on both sides or all at the end.

    Raises:
        ModelError: ``x`` has more.
    """
    missing = filters - x.shape[-1]
    if missing < 0:
        raise ModelError(
            f"shortcut A pads channels and cannot lead from {x.shape[-1]} to {filters}: use shortcut='B', or "
            "widths that do not fall"
        )
    before = missing // 2 if side == "both" else 0
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (before, missing - before)))


class SqueezeExcite(nn.Module):
    """Channel attention (Hu et al. 2018, section 3): rescales channels by a gate computed from their means.

    Attributes:
        reduction: Channels per hidden unit of the gate.
        dtype: dtype of the computation.
    """

    reduction: int
    dtype: DTypeLike = jnp.float32

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
        strides: Strides of the block, in both directions.
        conv: Builds a convolution from ``(features, kernel_size, strides=, padding=)``.
        norm: Builds a normalization, see ``ResNet.norm``.
        expansion: Output channels over ``filters``.
        shortcut: He et al. 2015, sections 3.3 and 4.1. "A": identity, subsampled and zero-padded where
            the shape changes; "B": a projection where the shape changes; "C": a projection in every
            block; "D": as B after a 2x2 average pool (He et al. 2018, "Bag of tricks", figure 2c);
            "none": no shortcut, which makes a plain network.
        shortcut_padding: Where option A puts its new channels.
        preactivation: Normalization and activation come before each convolution (He et al. 2016, figure 4e).
        preactivated: The input is activated already, as after the stem (He et al. 2016, appendix).
        project_input: With ``preactivation``, the projection sees the block's input, not the activated one.
        zero_init_residual: Start every block as its shortcut (Goyal et al. 2017, section 5.1).
        se_reduction: Squeeze-and-excitation with this reduction, its gate always with ReLU; 0 for none.
        drop_path: Probability of dropping the residual branch of an example (Huang et al. 2016).
        dropout: Rate before the last convolution (Zagoruyko and Komodakis 2016, section 2.4).
        act: The activation function.
        folded: Each BatchNorm that follows a convolution is folded into it, see ``fold_batch_norm``.
        dtype: dtype of the computation.
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
    act: Activation = nn.relu
    folded: bool = False
    dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_choice("shortcut", self.shortcut, get_args(Shortcut))
        check_choice("shortcut_padding", self.shortcut_padding, ("both", "end"))
        check_activation(self.act)
        check_probability("drop_path", self.drop_path)
        check_probability("dropout", self.dropout)
        check_count("expansion", self.expansion, 1)
        check_channels("a block", self.features)
        if check_count("se_reduction", self.se_reduction, 0) > self.features:
            raise ModelError(
                f"se_reduction={self.se_reduction} leaves nothing of {self.features} channels: "
                f"it is at most {self.features} here, or 0 for none"
            )
        if self.zero_init_residual and self.shortcut == "none":
            raise ModelError(
                "zero_init_residual makes every block of a plain network (shortcut='none') constant, so that "
                "it cannot learn: leave it out"
            )
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
        """Maps ``(N, H, W, C)`` to ``(N, H / strides, W / strides, expansion * filters)``."""
        branch = self._preactivated_branch if self.preactivation else self._branch
        return branch(x, train=train)

    @nn.nowrap
    def _branch(self, x: jax.Array, *, train: bool) -> jax.Array:
        """He et al. 2015: convolution, normalization, activation; the last activation follows the sum."""
        *convs, last_conv = self.convolutions()
        residual, y = self._residual(x, activated=x, train=train), x
        for i, make_conv in enumerate(convs, 1):
            conv, norm = make_conv(name=f"conv{i}"), self._norm(f"norm{i}")
            y = convolve_and_activate(conv, norm, y, self.act, train=train)
        y = self._dropout(y, train=train)
        conv = last_conv(name=f"conv{len(convs) + 1}")
        init = {"scale_init": nn.initializers.zeros} if self.zero_init_residual else {}
        norm = self._norm(f"norm{len(convs) + 1}", **init)
        if not self.se_reduction and not self.drop_path:
            return convolve_and_activate(conv, norm, y, self.act, train=train, residual=residual)
        y = conv(y) if norm is None else norm(conv(y), train=train)
        y = self._recalibrate(y, train=train)
        return self.act(y if residual is None else y + residual)

    @nn.nowrap
    def _preactivated_branch(self, x: jax.Array, *, train: bool) -> jax.Array:
        """He et al. 2016: normalization, activation, convolution; the sum is left as it is."""
        *convs, last_conv = self.convolutions()
        y = x
        if not self.preactivated:
            y = normalize_and_activate(self.norm(name="norm1"), x, self.act, train=train)
        residual = self._residual(x, activated=x if self.project_input else y, train=train)
        for i, make_conv in enumerate(convs, 1):
            conv, norm = make_conv(name=f"conv{i}"), self._norm(f"norm{i + 1}")
            y = convolve_and_activate(conv, norm, y, self.act, train=train)
        init = {"kernel_init": nn.initializers.zeros} if self.zero_init_residual else {}
        conv, y = last_conv(name=f"conv{len(convs) + 1}", **init), self._dropout(y, train=train)
        if self.folded and not self.se_reduction and not self.drop_path:
            return conv(y, residual=residual)
        y = self._recalibrate(conv(y), train=train)
        return y if residual is None else y + residual

    @nn.nowrap
    def _norm(self, name: str, **init: nn.initializers.Initializer) -> nn.Module | None:
        """A normalization that follows a convolution; None where it is folded into that."""
        return None if self.folded else self.norm(name=name, **init)

    @nn.nowrap
    def _dropout(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nn.Dropout(self.dropout, deterministic=not train)(x)

    @nn.nowrap
    def _residual(self, x: jax.Array, *, activated: jax.Array, train: bool) -> jax.Array | None:
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
            x = average_pool(x, strides)
            strides = 1
        x = self.conv(self.features, (1, 1), strides=strides, padding=0, name="shortcut_conv")(x)
        if self.preactivation:  # The sum stays unnormalized: nothing may stand on the identity path.
            return x
        norm = self._norm("shortcut_norm")
        return x if norm is None else norm(x, train=train)

    @nn.nowrap
    def _recalibrate(self, y: jax.Array, *, train: bool) -> jax.Array:
        """Applies squeeze-and-excitation and stochastic depth to the residual branch."""
        if self.se_reduction:
            y = SqueezeExcite(self.se_reduction, self.dtype, name="se")(y)
        if self.drop_path:
            # One draw per example; survivors are scaled up, so that evaluation needs no change.
            y = nn.Dropout(self.drop_path, broadcast_dims=(1, 2, 3), deterministic=not train)(y)
        return y


class BasicBlock(Block):
    """Two 3x3 convolutions (He et al. 2015, figure 5 left)."""

    def convolutions(self) -> list[LayerDef]:
        return [
            partial(self.conv, self.filters, (3, 3), strides=self.strides, padding=1),
            partial(self.conv, self.features, (3, 3), padding=1),
        ]


class BottleneckBlock(Block):
    """1x1, 3x3, 1x1 convolutions (He et al. 2015, figure 5 right); grouped, ResNeXt's (Xie et al. 2017).

    Attributes:
        cardinality: Groups of the 3x3 convolution.
        base_width: Channels per group in a stage of 64 filters, in proportion elsewhere.
        stride_on: The convolution that subsamples: "conv2", the 3x3, as in PyTorch, or "conv1", as in the
            2015 paper.
    """

    expansion: int = 4
    cardinality: int = 1
    base_width: int = 64
    stride_on: Literal["conv1", "conv2"] = "conv2"

    def __post_init__(self) -> None:
        check_count("cardinality", self.cardinality, 1)
        check_count("base_width", self.base_width, 1)
        check_choice("stride_on", self.stride_on, ("conv1", "conv2"))
        if not self.width:
            raise ModelError(
                f"base_width={self.base_width} leaves no channel in a stage of {self.filters} filters: "
                f"it is at least {-(-64 // self.filters)} here"
            )
        check_channels("a 3x3 convolution", self.width)
        super().__post_init__()

    @property
    def width(self) -> int:
        """Channels of the 3x3 convolution."""
        return self.filters * self.base_width // 64 * self.cardinality

    def convolutions(self) -> list[LayerDef]:
        first, second = (self.strides, 1) if self.stride_on == "conv1" else (1, self.strides)
        return [
            partial(self.conv, self.width, (1, 1), strides=first, padding=0),
            partial(
                self.conv, self.width, (3, 3), strides=second, padding=1, feature_group_count=self.cardinality
            ),
            partial(self.conv, self.features, (1, 1), padding=0),
        ]
