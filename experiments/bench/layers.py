"""Which layers a network has, and how often."""

from collections import Counter
from typing import Any

from experiments.bench.case import LayerShape
from jax_resnet.models import create_model
from jax_resnet.models.summary import summary

__all__ = ["count_layers"]


def count_layers(arch: str, options: dict[str, Any], image_size: int) -> dict[LayerShape, int]:
    """The distinct convolutions and normalizations of a network, with the number of each."""
    found: Counter[LayerShape] = Counter()
    for layer in summary(create_model(arch, **options), (image_size, image_size, 3)).layers:
        if layer.kind not in ("conv", "batch norm"):
            continue
        shape = LayerShape(
            size=layer.input[0],
            inputs=layer.input[-1],
            outputs=layer.output[-1],
            kernel=layer.kernel_size,
            strides=layer.strides,
            groups=layer.groups,
        )
        found[shape] += 1
    return dict(found)
