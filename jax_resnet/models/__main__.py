"""Prints a network's layers: ``python -m jax_resnet.models resnet50 --stem imagenet``."""

import sys
from collections.abc import Sequence

from jax_resnet._cli import FlagParser, UsageError, run_command
from jax_resnet.models.create import create_model
from jax_resnet.models.registry import find, list_models, usual_image_shape
from jax_resnet.models.summary import Summary, summary

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> int:
    """Prints a network's layers, or all networks; returns the exit status, 2 for invalid flags."""
    parser = FlagParser(
        prog="python -m jax_resnet.models",
        description="Prints a network's layers, shapes, parameters and multiply-adds per image.",
    )
    parser.add_argument("name", nargs="?", help="network; without one, all networks are listed")
    parser.add_argument("--num-classes", type=int, default=10, help="outputs (default 10); 0 for no head")
    parser.add_argument("--stem", default="cifar", help="cifar (default), or imagenet for large images")
    parser.add_argument("--variant", help="variant of a public code base: pytorch_cifar or blog")
    parser.add_argument(
        "--image-size", type=int, help="height and width in pixels (default: that of the usual data)"
    )
    try:
        flags = parser.parse_flags(args)
        if flags.name is None:
            print_names()
            return 0
        model = create_model(
            flags.name, num_classes=flags.num_classes, stem=flags.stem, variant=flags.variant
        )
        image_shape = usual_image_shape(flags.name, str(getattr(model, "stem", "")))
        size = flags.image_size
        if size is not None:
            if size < 1:
                raise ValueError(f"--image-size is at least 1, not {size}")
            image_shape = (size, size, image_shape[-1])
        result = summary(model, image_shape)
    except (UsageError, ValueError, TypeError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print_network(flags.name, result, image_shape)
    return 0


def print_names() -> None:
    """Prints one line per network: its name and paper."""
    for name in list_models():
        print(f"{name:24}{find(name).paper}")


def print_network(name: str, result: Summary, image_shape: tuple[int, int, int]) -> None:
    """Prints a table with one row per layer, and the totals."""
    print(f"{name}: {find(name).paper}\n\n{result}\n")
    size = "x".join(map(str, image_shape))
    print(
        f"{result.parameters:,} parameters ({4 * result.parameters / 1e6:,.1f} MB in float32), "
        f"{_short(result.multiply_adds)} multiply-adds for an image of {size}"
    )


def _short(count: int) -> str:
    return f"{count / 1e9:,.2f} G" if count >= 1e9 else f"{count / 1e6:,.2f} M"


if __name__ == "__main__":
    run_command(main)
