"""Residual networks in JAX and Flax, equal to the papers and to PyTorch.

Import the part you need: ``jax_resnet.models``, ``jax_resnet.data``, ``jax_resnet.train``,
``jax_resnet.optim``, ``jax_resnet.checkpoint``. This package itself imports nothing.
"""

__version__ = "0.1.0"
