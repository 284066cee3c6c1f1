"""Prints a network's layers: ``python -m jax_resnet.models resnet50 --stem imagenet``."""

import sys
from typing import Annotated

import tyro
from flax import linen as nn

from jax_resnet.models.registry import create_model, find, list_models
from jax_resnet.models.summary import Summary, summary


def show(
    name: Annotated[str | None, tyro.conf.Positional] = None,
    num_classes: int = 10,
    stem: str = "cifar",
    variant: str | None = None,
    image_size: int | None = None,
) -> int:
    """Prints a network's layers, shapes, parameters and multiply-adds for one image.

    Args:
        name: The network; without one, all networks are listed.
        num_classes: Outputs; 0 for none.
        stem: The layers before the first block: cifar, or imagenet for large images.
        variant: What a public code base does otherwise: pytorch_cifar or blog.
        image_size: Height and width, in pixels; those of the network's usual data if left out.
    """
    try:
        if name is None:
            print_names()
            return 0
        model = create_model(name, num_classes=num_classes, stem=stem, variant=variant)
        height, width, channels = find(name).image_shape
        if image_size is None and getattr(model, "stem", "").startswith("imagenet"):
            image_size = 224
        if image_size is not None:
            height = width = image_size
        if min(height, width) < 1:
            raise ValueError(f"--image-size is at least 1, not {height}")
        print_summary(name, find(name).paper, model, (height, width, channels))
    except (ValueError, TypeError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def print_names() -> None:
    """One line for each network: its name and paper."""
    for name in list_models():
        print(f"{name:24}{find(name).paper}")


def print_summary(name: str, paper: str, model: nn.Module, image_shape: tuple[int, int, int]) -> None:
    """A table, a row for each layer, and the totals."""
    from rich.console import Console
    from rich.table import Table

    result: Summary = summary(model, image_shape)
    table = Table(title=f"{name}: {paper}", caption_justify="left")
    for heading in ("layer", "kind"):
        table.add_column(heading, no_wrap=True)
    for heading in ("input", "output", "parameters", "multiply-adds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in result.layers:
        shapes = ("x".join(map(str, shape)) for shape in (layer.input, layer.output))
        macs = f"{layer.multiply_adds:,}" if layer.multiply_adds else ""
        table.add_row(layer.name, layer.kind, *shapes, f"{layer.parameters:,}", macs)
    console = Console()
    # A file or a pipe has no width; the table's lines stay whole there.
    if not console.is_terminal:
        console = Console(width=120)
    console.print(table)
    size = "x".join(map(str, image_shape))
    console.print(
        f"{result.parameters:,} parameters ({4 * result.parameters / 1e6:,.1f} MB in float32), "
        f"{_short(result.multiply_adds)} multiply-adds for an image of {size}",
        highlight=False,
    )


def _short(count: int) -> str:
    return f"{count / 1e9:,.2f} G" if count >= 1e9 else f"{count / 1e6:,.2f} M"


if __name__ == "__main__":
    sys.exit(tyro.cli(show, prog="python -m jax_resnet.models"))
