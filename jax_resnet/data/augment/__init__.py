"""What happens to images on the device, inside the jitted step: uint8 in, normalised float32 out.

Every image's outcome is a function of its own key, but for ``make_mix``, where there is another image in it.
"""

from .basic import normalize, random_crop, random_flip
from .compose import make_augment
from .cutout import cutout
from .mixing import make_mix
from .randaugment import rand_augment

__all__ = [
    "cutout",
    "make_augment",
    "make_mix",
    "normalize",
    "rand_augment",
    "random_crop",
    "random_flip",
]
