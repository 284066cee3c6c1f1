"""Images that the augmentations are tested on."""

import numpy as np


def structured():
    """uint8, (32, 32, 3): gradients, an edge, noise; not all values."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    image = np.stack([6 * x + y, 3 * y + 40 * (x > 16), 120 + 0 * x], -1) + rng.integers(0, 30, (32, 32, 3))
    return np.clip(image, 20, 230).astype(np.uint8)


def photograph_like():
    """uint8, (48, 40, 3): smooth areas of several scales with edges and a little noise."""
    rng = np.random.default_rng(1)
    image = np.zeros((48, 40, 3))
    for scale, weight in ((1, 6), (4, 20), (8, 60), (24, 90)):
        coarse = rng.normal(size=(48 // scale + 1, 40 // scale + 1, 3))
        image += weight * coarse.repeat(scale, 0).repeat(scale, 1)[:48, :40]
    return np.clip(image + 120, 0, 255).astype(np.uint8)
