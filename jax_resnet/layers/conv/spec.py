"""What a two-dimensional convolution computes, apart from its arrays."""

from typing import Literal, NamedTuple

from jax import lax

__all__ = ["ConvSpec", "Kind", "result_shape"]

# The three operations of a convolution y = x * w. Each is linear in both of its arguments, and the
# derivatives of each are the other two: together they are closed under differentiation.
Kind = Literal["forward", "input_gradient", "weight_gradient"]

# What ``precision`` may be for an algorithm other than the sum of products.
_REDUCED = (None, "default", "fastest", "bfloat16", "tensorfloat32", lax.Precision.DEFAULT)


class ConvSpec(NamedTuple):
    """A convolution of ``x (n, *input_size, groups * i)`` with ``w (*kernel_size, i, o)``, NHWC and HWIO.

    Attributes:
        strides: Step of the window, in pixels.
        padding: Zeros before and after each spatial axis; none negative.
        dilation: Distance between neighboring taps of the kernel, in pixels.
        groups: Number of groups of channels.
        input_size: Height and width of ``x``.
        kernel_size: Height and width of ``w``.
        precision: As in ``jax.lax.conv_general_dilated``.
    """

    strides: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int]
    groups: int
    input_size: tuple[int, int]
    kernel_size: tuple[int, int]
    precision: lax.PrecisionLike = None

    @property
    def in_full_precision(self) -> bool:
        """Whether ``precision`` asks for the sum of products itself, as ``"highest"`` does."""
        parts = self.precision if isinstance(self.precision, tuple) else (self.precision,)
        return any(part not in _REDUCED for part in parts)

    @property
    def output_size(self) -> tuple[int, int]:
        """Height and width of the result."""
        height, width = (
            max(0, (size + low + high - (taps - 1) * dilation - 1) // stride + 1)
            for size, (low, high), taps, dilation, stride in zip(
                self.input_size, self.padding, self.kernel_size, self.dilation, self.strides, strict=True
            )
        )
        return height, width


def result_shape(kind: Kind, a: tuple[int, ...], b: tuple[int, ...], spec: ConvSpec) -> tuple[int, ...]:
    """Returns the shape of an operation's result from the shapes of its arguments.

    The arguments are ``(x, w)`` for ``"forward"``, ``(gradient of y, w)`` for ``"input_gradient"``
    and ``(x, gradient of y)`` for ``"weight_gradient"``.
    """
    if kind == "forward":
        return (a[0], *spec.output_size, b[3])
    if kind == "input_gradient":
        return (a[0], *spec.input_size, b[2] * spec.groups)
    return (*spec.kernel_size, a[3] // spec.groups, b[3])
