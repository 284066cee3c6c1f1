"""Networks of absurd size are refused before anything is built."""

from functools import partial
from typing import Any

import pytest

from jax_resnet.errors import JaxResnetError
from jax_resnet.models import GroupNorm, create_model


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet2000000"}, "'resnet2000000' is above the cap of 10,000 layers"),
        ({"name": "plain" + "9" * 5000}, "is above the cap of 10,000 layers"),
        ({"name": "wrn_28_1000000"}, "is above the cap of 10,000 layers"),
        ({"name": "wrn_28_5000"}, "80,000 channels is more than the cap of 32,768"),
        ({"name": "resnext29_99999x64d"}, "is above the cap of 32,768 channels per convolution"),
        ({"name": "resnext29_900x64d"}, "57,600 channels is more than the cap of 32,768"),
        ({"name": "resnext50_32x4d", "cardinality": 10**6}, "channels is more than the cap of 32,768"),
        ({"name": "resnet18", "widths": (10**9,) * 4}, "1,000,000,000 channels is more than the cap"),
        ({"name": "resnet18", "stem_width": 10**9}, "1,000,000,000 channels is more than the cap"),
        ({"name": "resnet18", "stage_sizes": (10**6,) * 4}, "8,000,000 layers are more than the cap"),
        ({"name": "vgg11", "stage_sizes": (10**6,)}, "1,000,000 layers are more than the cap"),
        ({"name": "resnet18", "stage_sizes": 3}, "stage_sizes has one integer per stage"),
        ({"name": "resnet18", "stage_sizes": (2, 0)}, "a stage size is an integer of at least 1, not 0"),
        ({"name": "resnet18", "widths": (64, 1.5, 2, 3)}, "a width is an integer of at least 1, not 1.5"),
        ({"name": "airbench94", "widths": 5}, "widths has one integer per stage"),
        ({"name": "airbench94", "widths": ()}, "widths has one integer per stage"),
        ({"name": "resnet20", "norm_epsilon": -1.0}, "norm_epsilon is a number from 0 on, not -1.0"),
        ({"name": "airbench94", "norm_epsilon": "x"}, "norm_epsilon is a number from 0 on, not 'x'"),
        ({"name": "resnet20", "norm_momentum": 5.0}, "norm_momentum is a number from 0 to 1, not 5.0"),
        ({"name": "vgg11", "norm_momentum": 5.0}, "norm_momentum is a number from 0 to 1, not 5.0"),
        ({"name": "resnet20", "dtype": None}, "dtype is a floating-point type"),
        ({"name": "resnet20", "norm": None}, "norm is a class or a function that makes a normalization"),
        ({"name": "resnet20", "norm": "group"}, "norm is a class or a function .* not str"),
        ({"name": "resnet20", "norm": GroupNorm(8)}, "norm is a class or a function .* not GroupNorm"),
        (
            {"name": "resnet20", "norm": partial(GroupNorm, epsilon=1.0)},
            "norm gets its epsilon from the network",
        ),
        ({"name": "resnet50", "base_width": 1, "widths": (16,) * 4}, "it is at least 4 here"),
    ],
)
def test_sizes_that_cannot_be_built_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        create_model(**arguments)
    assert isinstance(caught.value, JaxResnetError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["resnet\uff12\uff10", "resnet\u0662\u0660", "resnet020", "wrn_016_4", ""])
def test_a_name_is_written_in_one_way(name: str) -> None:
    with pytest.raises(ValueError, match="no network is called"):
        create_model(name)


def test_leading_zeros_are_answered_with_the_name() -> None:
    with pytest.raises(ValueError, match="did you mean wrn_16_4\\?"):
        create_model("wrn_016_04")


def test_the_largest_published_networks_are_within_the_caps() -> None:
    for name in ("resnet1202", "preact_resnet1001", "wide_resnet101_2", "resnext29_16x64d", "resnet9998"):
        create_model(name)
