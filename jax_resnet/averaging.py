"""An exponential moving average of a network's variables, evaluated in their place.

Averaged weights lie nearer the middle of what SGD wanders around in (Polyak and Juditsky 1992), and test
better than the last while the learning rate is high.
"""

from typing import Any

import jax
import jax.numpy as jnp


def moving_average(average: Any, variables: Any, step: jax.Array, decay: float) -> Any:
    """``d * average + (1 - d) * variables`` with ``d = min(decay, (1 + step) / (10 + step))``.

    The smaller ``d`` of early steps lets go of the initial weights, as TensorFlow's
    ``ExponentialMovingAverage`` does with ``num_updates``. BatchNorm's running statistics are averaged like
    the parameters: those of the moving network belong to other weights than the averaged ones. That they
    are near enough to what the averaged network would see is an approximation; ``batch_stats`` recomputes
    them where it is not good enough.

    Args:
        average: So far; a tree of arrays.
        variables: After the newest update; a tree of the same structure.
        step: Updates made, the newest included, from 1.
        decay: Weight of the past, in the long run.
    """
    d = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda a, v: (d * a + (1 - d) * v).astype(a.dtype), average, variables)
