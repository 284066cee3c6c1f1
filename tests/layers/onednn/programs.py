"""Programs that use the extension, run in processes of their own."""

import os
import subprocess
import sys
import textwrap

CONVOLVE = """
    import logging
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    import jax.numpy as jnp
    from jax_resnet import layers
    for size in (4, 5):
        y = layers.conv_general_dilated(
            jnp.ones((1, size, 4, 2)), jnp.ones((1, 1, 2, 2)), (1, 1), "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"))
        assert (y == 2).all()
    print(layers.info().in_use, layers.info().reason)
"""


def run_python(code, **environment):
    """Runs a program in a process of its own, in which warnings are errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=900,
    )
