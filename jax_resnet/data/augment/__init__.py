"""What is done to images on the device, inside the jitted step: uint8 in, normalized float32 out.

Each image's outcome is a function of its own key, except for ``make_mix``, which mixes it with another image.
"""

from jax_resnet.data.augment.basic import alternating_flips, mean_image, normalize, random_crop, random_flip
from jax_resnet.data.augment.compose import Augment, make_augment
from jax_resnet.data.augment.cutout import cutout
from jax_resnet.data.augment.mixing import Mix, make_mix
from jax_resnet.data.augment.randaugment import rand_augment
from jax_resnet.data.augment.tta import average_views, flip_and_shift_views, flip_views

__all__ = [
    "Augment",
    "Mix",
    "alternating_flips",
    "average_views",
    "cutout",
    "flip_and_shift_views",
    "flip_views",
    "make_augment",
    "make_mix",
    "mean_image",
    "normalize",
    "rand_augment",
    "random_crop",
    "random_flip",
]
