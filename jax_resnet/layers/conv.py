"""The one convolution every network calls."""

from jax import lax

conv_general_dilated = lax.conv_general_dilated
