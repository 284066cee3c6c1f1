"""What happens to images on the device, inside the jitted step: uint8 in, normalized float32 out.

Every image's outcome is a function of its own key, but for ``make_mix``, where there is another image in it.
"""

from jax_resnet.data.augment.basic import normalize, random_crop, random_flip
from jax_resnet.data.augment.compose import make_augment
from jax_resnet.data.augment.cutout import cutout
from jax_resnet.data.augment.mixing import make_mix
from jax_resnet.data.augment.randaugment import rand_augment

__all__ = [
    "cutout",
    "make_augment",
    "make_mix",
    "normalize",
    "rand_augment",
    "random_crop",
    "random_flip",
]
