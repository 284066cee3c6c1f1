"""Which layers a network has, and how often."""

from collections import Counter
from typing import Any

from experiments.bench.case import Layer
from jax_resnet.models import create_model
from jax_resnet.models.summary import summary


def layers_of(arch: str, options: dict[str, Any], image_size: int) -> dict[Layer, int]:
    """The distinct convolutions and normalizations of a network with how many of each there are."""
    found: Counter[Layer] = Counter()
    for layer in summary(create_model(arch, **options), (image_size, image_size, 3)).layers:
        if layer.kind == "batch norm":
            found[Layer(layer.input[0], layer.input[-1], layer.input[-1], kernel=0)] += 1
        elif layer.kind.startswith("conv"):
            _, shape, *groups = layer.kind.split(" ")
            found[
                Layer(
                    layer.input[0],
                    layer.input[-1],
                    layer.output[-1],
                    kernel=int(shape.split("x")[0].strip(",")),
                    strides=layer.input[0] // layer.output[0],
                    groups=int(groups[0]) if groups else 1,
                )
            ] += 1
    return dict(found)
