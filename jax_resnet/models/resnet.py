"""The residual network: a stem, stages of blocks, a linear head. Every named network is data for it."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jax_resnet.layers import BatchNorm, conv_general_dilated
from jax_resnet.models.fold import FoldedNorm
from jax_resnet.models.stem import STEMS, apply_stem, as_images

# He et al. 2015, "Delving deep into rectifiers", equation 10: variance 2 / fan-in.
he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
# Uniform in +-1 / sqrt(fan-in), as PyTorch's Linear.
head_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def in_loop(run: Callable[..., Any], length: int) -> Callable[..., Any]:
    """Runs a block so many times, each time with parameters and statistics of its own."""
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
        preactivation: BatchNorm and ReLU before each convolution (He et al. 2016).
        final_norm: With ``preactivation``, BatchNorm and ReLU before pooling, as in the paper.
        activate_stem: With ``preactivation``, BatchNorm and ReLU right after the stem, before the first
            split, as the paper's appendix has it, in place of those of the first block's branch.
        use_bias: Give the convolutions a bias.
        drop_path: Stochastic depth: the last block's probability, rising linearly from 0 at the first.
        frozen: Parts whose BatchNorm always uses, and never moves, its running statistics: any of
            "stem", "stage1", "stage2", ..., "final".
        remat: Stages, "stage1", "stage2", ..., whose activations are recomputed in the backward pass.
        scan_layers: Run the equal blocks of a stage, all but its first, in a loop: a network of 1,000 layers
            becomes a program of the size of one of 20. ``stack_blocks`` gives the layout of its variables.
            On CPU a convolution of XLA's own is many times slower in a loop.
        dtype: In which the network computes; parameters and statistics stay float32, and so do logits.
        norm: The normalization: any module with the fields and the call of ``layers.BatchNorm``.
        norm_epsilon: Of every BatchNorm.
        norm_momentum: Of every BatchNorm: the share of the old running statistics that stays.
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
    frozen: Collection[str] = ()
    remat: Collection[str] = ()
    scan_layers: bool = False
    dtype: jnp.dtype = jnp.float32
    norm: Callable[..., nn.Module] = BatchNorm
    norm_epsilon: float = 1e-5
    norm_momentum: float = 0.9
    folded: bool = False

    def __post_init__(self) -> None:
        if len(self.stage_sizes) > len(self.widths):
            raise ValueError(f"{len(self.stage_sizes)} stages need as many widths, not {len(self.widths)}")
        if self.stem not in STEMS:
            raise ValueError(f"stem is one of {', '.join(map(repr, STEMS))}, not {self.stem!r}")
        stages = {f"stage{i + 1}" for i in range(len(self.stage_sizes))}
        for field, known in (("frozen", stages | {"stem", "final"}), ("remat", stages)):
            if unknown := set(getattr(self, field)) - known:
                raise ValueError(f"{field} has no part {sorted(unknown)}; there are {sorted(known)}")
        if self.scan_layers and self.drop_path:
            raise ValueError("with scan_layers all blocks are alike: drop_path, which grows, must be 0")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool, features: bool = False
    ) -> jax.Array | tuple[jax.Array, ...]:
        """Computes logits, or with ``features=True`` the output of every stage.

        Args:
            images: ``(N, H, W, channels)``, any float dtype.
            train: Normalize by the batch's statistics, and move ``batch_stats`` where it is mutable.
            features: Return a tuple with each stage's ``(N, H', W', C')`` feature map instead.

        Returns:
            Logits ``(N, num_classes)``, or pooled features ``(N, C)`` where ``num_classes`` is 0; float32
            (float64 where ``dtype`` is).
        """
        conv = partial(
            nn.Conv,
            use_bias=self.use_bias or self.folded,
            dtype=self.dtype,
            kernel_init=he_normal,
            conv_general_dilated=conv_general_dilated,
        )

        def norm(part: str) -> Callable[..., nn.Module]:
            return partial(
                self.norm,
                momentum=self.norm_momentum,
                epsilon=self.norm_epsilon,
                dtype=self.dtype,
                frozen=part in self.frozen,
            )

        x = as_images(images, self.dtype)
        stem_norm = None
        if self.activate_stem or not self.preactivation:
            stem_norm = FoldedNorm if self.folded else norm("stem")
        width = self.stem_width or self.widths[0]
        x = apply_stem(x, STEMS[self.stem], width, conv=conv, norm=stem_norm, train=train)

        maps = []
        last = max(sum(self.stage_sizes) - 1, 1)
        for i, size in enumerate(self.stage_sizes):
            stage = f"stage{i + 1}"

            def run(block: nn.Module, x: jax.Array, _: None = None) -> tuple[jax.Array, None]:
                return block(x, train=train), None

            if stage in self.remat:
                # A loop keeps XLA from undoing it; elsewhere flax must.
                run = nn.remat(run, prevent_cse=not self.scan_layers)
            for j in range(min(size, 2) if self.scan_layers else size):
                looped = self.scan_layers and j == 1
                block = self.block(
                    filters=self.widths[i],
                    strides=2 if i > 0 and j == 0 else 1,
                    conv=conv,
                    norm=norm(stage),
                    preactivation=self.preactivation,
                    preactivated=self.activate_stem and i == j == 0,
                    drop_path=self.drop_path * (sum(self.stage_sizes[:i]) + j) / last,
                    folded=self.folded,
                    dtype=self.dtype,
                    name=f"{stage}_blocks" if looped else f"{stage}_block{j + 1}",
                )
                x, _ = (in_loop(run, size - 1) if looped else run)(block, x, None)
            maps.append(x)
        if features:
            return tuple(maps)

        if self.preactivation and self.final_norm:
            x = norm("final")(name="final_norm")(x, train=train, relu=True)
        wide = jnp.promote_types(jnp.float32, self.dtype)
        x = jnp.mean(x.astype(wide), (1, 2))
        if self.num_classes == 0:
            return x
        return nn.Dense(self.num_classes, dtype=wide, kernel_init=head_init, name="head")(x)
