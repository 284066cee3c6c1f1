"""The residual network: a stem, stages of blocks, a linear head. Every named network is data for it."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jax_resnet.errors import ModelError
from jax_resnet.layers import BatchNorm, conv_general_dilated
from jax_resnet.layers.dtypes import wide_dtype
from jax_resnet.models.activation import Activation, check_activation, normalize_and_activate
from jax_resnet.models.folded import FoldedConv
from jax_resnet.models.initializers import he_normal, head_init
from jax_resnet.models.limits import (
    check_channels,
    check_choice,
    check_classes,
    check_dtype,
    check_norm_options,
    check_probability,
    check_stages,
    chosen_parts,
)
from jax_resnet.models.stem import STEMS, apply_stem, as_images, check_image_channels

__all__ = ["ResNet"]


def in_loop(run: Callable[..., Any], length: int) -> Callable[..., Any]:
    """Runs a block ``length`` times in a loop, each time with parameters and statistics of its own."""
    return nn.scan(
        run,
        variable_axes={"params": 0, "batch_stats": 0},
        split_rngs={"params": True, "dropout": True},
        length=length,
    )


class ResNet(nn.Module):
    """A residual network (He et al. 2015, table 1 and section 4.2).

    Attributes:
        stage_sizes: Blocks in each stage.
        block: A block class, or a ``functools.partial`` of one.
        widths: Base width of each stage.
        num_classes: Outputs; 0 leaves out the head and returns the pooled features.
        stem: A key of ``STEMS``.
        stem_width: Channels of the stem; the first stage's base width where None.
        preactivation: Normalization and activation before each convolution (He et al. 2016).
        final_norm: With ``preactivation``, normalization and activation before pooling, as in the paper.
        activate_stem: With ``preactivation``, normalization and activation right after the stem's
            convolution, before the max-pool and the first split, as the paper's appendix has it, in place
            of those of the first block's branch.
        use_bias: Give the convolutions a bias.
        drop_path: Stochastic depth: the last block's probability, rising linearly from 0 at the first.
        act: The activation function. ReLU is computed together with the normalization before it.
        frozen: Parts whose BatchNorm always uses, and never moves, its running statistics: any of
            "stem", "stage1", "stage2", ..., "final", or "all" (True).
        remat: Stages, "stage1", "stage2", ..., or "all", whose activations are recomputed in the backward
            pass.
        scan_layers: Run the equal blocks of a stage, all but its first, in a loop: a network of 1,000 layers
            becomes a program of the size of one of 20. ``stack_blocks`` gives the layout of its variables.
            On CPU a convolution of XLA's own is many times slower in a loop.
        dtype: dtype of the computation; parameters and statistics stay float32, and so do logits.
        norm: Builds a normalization from ``momentum``, ``epsilon``, ``dtype``, ``frozen``, ``name`` and, with
            ``zero_init_residual``, ``scale_init``. It is called as ``norm(x, train=...)``, with
            ``residual=`` to add and ``relu=True`` to apply after it: ``layers.BatchNorm``,
            ``models.GroupNorm``, or a ``functools.partial`` of either.
        norm_epsilon: Epsilon of every normalization.
        norm_momentum: Fraction of the old running statistics that every BatchNorm keeps per step.
        folded: Each BatchNorm that follows a convolution is folded into it, see ``fold_batch_norm``.
    """

    stage_sizes: Sequence[int]
    block: Callable[..., nn.Module]
    widths: Sequence[int] = (64, 128, 256, 512)
    num_classes: int = 10
    stem: str = "cifar"
    stem_width: int | None = None
    preactivation: bool = False
    final_norm: bool = True
    activate_stem: bool = False
    use_bias: bool = False
    drop_path: float = 0.0
    act: Activation = nn.relu
    frozen: bool | str | Collection[str] = ()
    remat: bool | str | Collection[str] = ()
    scan_layers: bool = False
    dtype: DTypeLike = jnp.float32
    norm: Callable[..., nn.Module] = BatchNorm
    norm_epsilon: float = 1e-5
    norm_momentum: float = 0.9
    folded: bool = False

    def __post_init__(self) -> None:
        check_stages(self.stage_sizes, self.widths)
        check_classes(self.num_classes)
        check_choice("stem", self.stem, STEMS)
        if self.stem_width is not None:
            check_channels("stem_width", self.stem_width)
        check_activation(self.act)
        check_dtype(self.dtype)
        check_probability("drop_path", self.drop_path)
        chosen_parts("frozen", self.frozen, self.parts)
        chosen_parts("remat", self.remat, self._stages)
        if self.scan_layers and self.drop_path:
            raise ModelError("with scan_layers all blocks are alike: drop_path, which grows, must be 0")
        check_norm_options(self.norm_epsilon, self.norm_momentum)
        if isinstance(self.norm, nn.Module) or not callable(self.norm):
            raise ModelError(
                "norm is a class or a function that makes a normalization, such as models.GroupNorm or "
                f"functools.partial(models.GroupNorm, num_groups=8), not {type(self.norm).__name__}"
            )
        norm = self.norm.func if isinstance(self.norm, partial) else self.norm
        if taken := {"momentum", "epsilon", "dtype", "frozen"} & set(getattr(self.norm, "keywords", ())):
            raise ModelError(
                f"norm gets its {min(taken)} from the network: see norm_momentum, norm_epsilon, dtype, frozen"
            )
        if getattr(norm, "__module__", "").startswith("flax."):
            raise ModelError(
                f"norm takes a module with the call of layers.BatchNorm, not flax's {norm.__name__}: "
                "models.GroupNorm is one"
            )
        super().__post_init__()

    @property
    def _stages(self) -> list[str]:
        return [f"stage{i + 1}" for i in range(len(self.stage_sizes))]

    @property
    def parts(self) -> list[str]:
        """The parts that ``frozen`` can name."""
        return ["stem", *self._stages, "final"]

    @property
    def first_conv(self) -> str:
        """Name of the convolution that sees the images."""
        return "stem_conv1" if len(STEMS[self.stem].kernels) > 1 else "stem_conv"

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Computes logits.

        Args:
            images: ``(N, H, W, channels)``, any float dtype.
            train: Normalize by the batch's statistics, and move ``batch_stats`` where it is mutable.

        Returns:
            Logits ``(N, num_classes)``, or pooled features ``(N, C)`` where ``num_classes`` is 0; float32
            (float64 where ``dtype`` is).

        Raises:
            ModelError: The images have another shape, or are integers.
        """
        return self._run(images, train=train)

    def features(self, images: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Computes the feature maps of the stem and of every stage, without pooling or head.

        ``model.apply(variables, images, train=False, method="features")``. Per map, channels and stride, the
        pixels of the image per pixel of the map (``feature_info`` has the numbers of any network):

        ========  =====================  =====================  ====================
        map       resnet20               resnet18, stem cifar   resnet50, imagenet
        ========  =====================  =====================  ====================
        stem      16 channels, stride 1  64 channels, stride 1  64 channels, stride 4
        stage1    16, 1                  64, 1                  256, 4
        stage2    32, 2                  128, 2                 512, 8
        stage3    64, 4                  256, 4                 1024, 16
        stage4                           512, 8                 2048, 32
        ========  =====================  =====================  ====================

        Args:
            images: ``(N, H, W, channels)``, any float dtype.
            train: Normalize by the batch's statistics, and move ``batch_stats`` where it is mutable.

        Returns:
            ``{"stem", "stage1", "stage2", ...}``, each ``(N, H / stride, W / stride, channels)`` of
            ``dtype``: sums of the last block of a stage, which pre-activation networks leave unactivated.
        """
        return self._run(images, train=train, features=True)

    @nn.compact
    def _run(self, images: jax.Array, *, train: bool, features: bool = False) -> Any:
        x = as_images(images, self.dtype)
        conv: Callable[..., nn.Module] = partial(
            nn.Conv,
            use_bias=self.use_bias,
            dtype=self.dtype,
            kernel_init=he_normal,
            conv_general_dilated=conv_general_dilated,
        )
        if self.folded:
            conv = partial(FoldedConv, dtype=self.dtype)
        stem = STEMS[self.stem]
        check_image_channels(self, images)
        activate = self.activate_stem or not self.preactivation
        norm = None if self.folded else self._norm("stem")
        width = self.stem_width or self.widths[0]
        x = apply_stem(x, stem, width, conv=conv, norm=norm, act=self.act, activate=activate, train=train)
        maps = {"stem": x}
        for i, stage in enumerate(self._stages):
            x = maps[stage] = self._stage(i, x, conv=conv, train=train)
        return maps if features else self._head(x, train=train)

    @nn.nowrap
    def _stage(self, i: int, x: jax.Array, *, conv: Callable[..., nn.Module], train: bool) -> jax.Array:
        """The output of stage ``i``, counted from 0."""

        def run(block: nn.Module, x: jax.Array, _: None = None) -> tuple[jax.Array, None]:
            return block(x, train=train), None

        stage, size = self._stages[i], self.stage_sizes[i]
        if stage in chosen_parts("remat", self.remat, self._stages):
            # A loop keeps XLA from undoing it; elsewhere flax must.
            run = nn.remat(run, prevent_cse=not self.scan_layers)
        before, last = sum(self.stage_sizes[:i]), max(sum(self.stage_sizes) - 1, 1)
        for j in range(min(size, 2) if self.scan_layers else size):
            looped = self.scan_layers and j == 1
            block = self.block(
                filters=self.widths[i],
                strides=2 if i > 0 and j == 0 else 1,
                conv=conv,
                norm=self._norm(stage),
                preactivation=self.preactivation,
                preactivated=self.activate_stem and i == j == 0,
                drop_path=self.drop_path * (before + j) / last,
                act=self.act,
                folded=self.folded,
                dtype=self.dtype,
                name=f"{stage}_blocks" if looped else f"{stage}_block{j + 1}",
            )
            x, _ = (in_loop(run, size - 1) if looped else run)(block, x, None)
        return x

    @nn.nowrap
    def _head(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Logits, or pooled features where there are no classes."""
        if self.preactivation and self.final_norm:
            norm = self._norm("final")(name="final_norm")
            x = normalize_and_activate(norm, x, self.act, train=train)
        wide = wide_dtype(self.dtype)
        x = jnp.mean(x.astype(wide), (1, 2))
        if self.num_classes == 0:
            return x
        return nn.Dense(self.num_classes, dtype=wide, kernel_init=head_init, name="head")(x)

    @nn.nowrap
    def _norm(self, part: str) -> Callable[..., nn.Module]:
        """Builds the normalizations of one part of the network."""
        return partial(
            self.norm,
            momentum=self.norm_momentum,
            epsilon=self.norm_epsilon,
            dtype=self.dtype,
            frozen=part in chosen_parts("frozen", self.frozen, self.parts),
        )
