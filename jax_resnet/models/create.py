"""``create_model``: a network by name, its options checked before anything is built."""

import dataclasses
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any, Literal, cast, overload

import numpy as np
from flax import linen as nn

from jax_resnet._text import did_you_mean
from jax_resnet.errors import ModelError
from jax_resnet.models.activation import find_activation
from jax_resnet.models.blocks import BasicBlock, Block, BottleneckBlock
from jax_resnet.models.limits import check_choice
from jax_resnet.models.mnist import MnistCNN, MnistPreActResNet
from jax_resnet.models.registry import Row, find, stem_options, variant_options
from jax_resnet.models.resnet import ResNet
from jax_resnet.models.vgg import VGG
from jax_resnet.models.whitened import WhitenedResNet

__all__ = ["BLOCKS", "Model", "ResNetName", "VGGName", "create_model"]

Model = ResNet | VGG | MnistCNN | MnistPreActResNet | WhitenedResNet

# The listed networks by class, so that a type checker knows what ``create_model("resnet18")`` returns.
VGGName = Literal["vgg11", "vgg13", "vgg16", "vgg19"]
ResNetName = Literal[
    "plain18",
    "plain20",
    "plain32",
    "plain34",
    "plain44",
    "plain56",
    "plain110",
    "preact_resnet18",
    "preact_resnet34",
    "preact_resnet50",
    "preact_resnet101",
    "preact_resnet110",
    "preact_resnet152",
    "preact_resnet164",
    "preact_resnet1001",
    "resnet14",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnet101",
    "resnet110",
    "resnet152",
    "resnet1202",
    "resnext29_2x64d",
    "resnext29_8x64d",
    "resnext29_16x64d",
    "resnext29_32x4d",
    "resnext50_32x4d",
    "resnext101_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "seminar_resnet",
    "seresnet18",
    "seresnet50",
    "wide_resnet50_2",
    "wide_resnet101_2",
    "wrn_16_4",
    "wrn_28_10",
    "wrn_40_4",
]

BLOCKS: Mapping[str, type[Block]] = {"basic": BasicBlock, "bottleneck": BottleneckBlock}

# Names of options in other libraries, and ours.
SYNONYMS: Mapping[str, str] = {
    "act_fn": "act",
    "act_layer": "act",
    "activation": "act",
    "activation_fn": "act",
    "nonlinearity": "act",
    "bias": "use_bias",
    "batch_norm": "norm",
    "norm_layer": "norm",
    "normalization": "norm",
    "bn_eps": "norm_epsilon",
    "eps": "norm_epsilon",
    "epsilon": "norm_epsilon",
    "momentum": "norm_momentum",
    "channels": "widths",
    "features": "widths",
    "filters": "widths",
    "width": "widths",
    "width_per_group": "base_width",
    "groups": "cardinality",
    "checkpoint": "remat",
    "gradient_checkpointing": "remat",
    "classes": "num_classes",
    "n_classes": "num_classes",
    "num_outputs": "num_classes",
    "block_cls": "block",
    "block_type": "block",
    "depths": "stage_sizes",
    "layers": "stage_sizes",
    "num_blocks": "stage_sizes",
    "drop_path_rate": "drop_path",
    "stochastic_depth": "drop_path",
    "drop_rate": "dropout",
    "dropout_rate": "dropout",
    "freeze": "frozen",
    "precision": "dtype",
    "scan": "scan_layers",
    "se": "se_reduction",
    "zero_init": "zero_init_residual",
    "zero_init_last": "zero_init_residual",
}

# Fields of several values, one per stage or the names of parts.
_SEVERAL = {"stage_sizes", "widths", "frozen", "remat"}
# Fields that the network sets itself.
_SET_BY_FLAX = {"parent", "name"}
_SET_BY_NETWORK = {"conv", "norm", "filters", "strides", "preactivated"} | _SET_BY_FLAX


@overload
def create_model(
    name: ResNetName, *, num_classes: int = ..., stem: str = ..., variant: str | None = ..., **overrides: Any
) -> ResNet: ...
@overload
def create_model(name: VGGName, *, num_classes: int = ..., **overrides: Any) -> VGG: ...
@overload
def create_model(name: Literal["mnist_cnn"], *, num_classes: int = ..., **overrides: Any) -> MnistCNN: ...
@overload
def create_model(
    name: Literal["mnist_preact_resnet"], *, num_classes: int = ..., **overrides: Any
) -> MnistPreActResNet: ...
@overload
def create_model(
    name: Literal["airbench94", "airbench95", "whitened_resnet8"], *, num_classes: int = ..., **overrides: Any
) -> WhitenedResNet: ...
@overload
def create_model(
    name: str, *, num_classes: int = ..., stem: str = ..., variant: str | None = ..., **overrides: Any
) -> Model: ...
def create_model(
    name: str, *, num_classes: int = 10, stem: str = "cifar", variant: str | None = None, **overrides: Any
) -> Model:
    """Builds a network.

    >>> import jax, jax.numpy as jnp
    >>> model = create_model("resnet20", num_classes=10)
    >>> images = jnp.zeros((4, 32, 32, 3))
    >>> variables = model.init(jax.random.key(0), images, train=False)
    >>> print(sum(x.size for x in jax.tree.leaves(variables["params"])))
    269722
    >>> print(model.apply(variables, images, train=False).shape)
    (4, 10)
    >>> maps = model.apply(variables, images, train=False, method="features")
    >>> print({name: x.shape for name, x in maps.items() if name != "stem"})
    {'stage1': (4, 32, 32, 16), 'stage2': (4, 16, 16, 32), 'stage3': (4, 8, 8, 64)}

    Args:
        name: One of ``list_models()``, or any other member of a numbered family.
        num_classes: Outputs; 0 for a network without its head.
        stem: "cifar" (3x3, no pooling) or "imagenet" (7x7 of stride 2, max-pool); or another of ``STEMS``.
        variant: "pytorch_cifar" or "blog", see ``variant_options``.
        **overrides: Any other field of the network or of its block: ``shortcut="B"``,
            ``dtype=jnp.bfloat16``, ``zero_init_residual=True``, ``stage_sizes=...``; ``act``, a function or
            its name (``jax.nn.silu`` or "silu"); ``norm``, see ``ResNet``; ``block``, "basic", "bottleneck"
            or a subclass of ``Block``.

    Returns:
        A module: ``model.init(key, images, train=False)`` gives its variables ``{"params", "batch_stats"}``,
        ``model.apply(variables, images, train=False)`` the logits, with ``method="features"`` the feature
        maps.

    Raises:
        ModelError: A name, an option or an option's value that does not exist, with near misses.
    """
    row = find(name)
    block = _find_block(name, row, overrides)
    options = {**row.options, "num_classes": num_classes, **overrides}
    network_fields = {field.name for field in dataclasses.fields(row.network)} - _SET_BY_FLAX - {"block"}
    if "stem" in network_fields:
        options = {"stem": stem, **options}
    elif stem != "cifar":
        raise ModelError(f"{name} has one stem, its own: leave out stem={stem!r}")
    if variant is not None:
        given = {} if stem == "cifar" else {"stem": stem}
        options = {**options, **variant_options(row, variant), **given, **overrides}
    options = {**stem_options(options), **options}
    if "act" in options:
        options["act"] = find_activation(options["act"])

    options = {key: _hashable(key, value) for key, value in options.items()}

    block_fields = _block_fields(block)
    _check_names(name, options, network_fields | block_fields | ({"block"} if row.block else set()))
    network_options = {key: value for key, value in options.items() if key in network_fields}
    if block is None:
        return cast(Model, row.network(**network_options))
    block_options = {key: value for key, value in options.items() if key in block_fields - network_fields}
    network = ResNet(block=_with_options(block, block_options), **network_options)
    for width in network.widths[: len(network.stage_sizes)]:
        # A block checks its own options; this finds wrong ones before the first trace.
        network.block(filters=width, strides=1, conv=nn.Conv, norm=network.norm, act=network.act)
    return network


def _find_block(name: str, row: Row, overrides: dict[str, Any]) -> Any:
    """Takes ``block`` out of the overrides: a block class, a ``functools.partial`` of one, or None."""
    if "block" not in overrides:
        return row.block
    block = overrides.pop("block")
    if row.block is None:
        raise ModelError(f"{name} has no residual blocks: leave out block={block!r}")
    if isinstance(block, str):
        check_choice("block", block, BLOCKS)
        return BLOCKS[block]
    made = block.func if isinstance(block, partial) else block
    if not isinstance(made, type) or not issubclass(made, Block):
        raise ModelError(f"block is 'basic', 'bottleneck' or a subclass of models.Block, not {block!r}")
    return block


def _hashable(name: str, value: Any) -> Any:
    """Parts and sizes as tuples or frozen sets: a network can be a static argument of ``jax.jit``."""
    if isinstance(value, np.ndarray) and (name in _SEVERAL or value.ndim == 0):
        value = value.tolist()
    if name in _SEVERAL and isinstance(value, list):
        return tuple(value)
    return frozenset(value) if name in _SEVERAL and isinstance(value, set) else value


def _with_options(block: Any, options: Mapping[str, Any]) -> Any:
    try:
        return _same_partial(block, **dict(sorted(options.items())))
    except TypeError:  # a value that cannot be hashed, which the block refuses, or a user's block takes
        return partial(block, **options)


# Partials are equal only to themselves, and networks made alike should be equal: for another static argument
# ``jax.jit`` compiles anew.
@lru_cache(1024, typed=True)
def _same_partial(block: Any, **options: Any) -> Any:
    return partial(block, **options)


def _block_fields(block: Any) -> set[str]:
    if block is None:
        return set()
    made: Any = block.func if isinstance(block, partial) else block
    return {field.name for field in dataclasses.fields(made)} - _SET_BY_NETWORK


def _check_names(name: str, options: Mapping[str, Any], known: set[str]) -> None:
    """Raises ModelError for an option that a network does not have; the message has the nearest one."""
    for wrong in sorted(set(options) - known):
        meant = SYNONYMS.get(wrong, "")
        if meant in known:
            hint = f"did you mean {meant!r}?"
        else:
            hint = (
                did_you_mean(repr(wrong), map(repr, sorted(known)), 1) or f"it has {', '.join(sorted(known))}"
            )
        raise ModelError(f"{name} has no option {wrong!r}; {hint}")
