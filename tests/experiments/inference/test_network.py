"""Variables to evaluate or to train from, read from runs, checkpoints and files."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from experiments.inference.network import count_outputs, initialize_from, read_variables
from experiments.program.errors import ConfigError
from jax_resnet import checkpoint
from jax_resnet.convert import to_torch, write_state_dict
from jax_resnet.models import create_model, stack_blocks
from tests.helpers import quick

OPTIONS: dict[str, Any] = {"widths": [2, 3, 4], "stage_sizes": [3, 2, 1]}
PLAIN = create_model("resnet20", **OPTIONS)
LOOPED = create_model("resnet20", **OPTIONS, scan_layers=True)
VARIABLES = quick.trained(PLAIN, (32, 32, 3))
STACKED = jax.tree.map(np.asarray, stack_blocks(VARIABLES))


def zeros(tree: Any) -> Any:
    return jax.tree.map(np.zeros_like, tree)


def assert_same(a: Any, b: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture
def weights(tmp_path: Path) -> str:
    write_state_dict(tmp_path / "weights.safetensors", to_torch(VARIABLES, PLAIN))
    return str(tmp_path / "weights.safetensors")


def test_networks_with_and_without_loops_start_from_each_other(weights: str, tmp_path: Path) -> None:
    assert_same(initialize_from(weights, LOOPED, zeros(STACKED)), STACKED)
    assert_same(read_variables(weights, LOOPED), STACKED)
    for name, scan_layers, variables in (("looped", True, STACKED), ("plain", False, VARIABLES)):
        config = {"model": {"name": "resnet20", **OPTIONS, "scan_layers": scan_layers}}
        checkpoint.save(tmp_path / name, variables, config)
        assert_same(initialize_from(str(tmp_path / name), PLAIN, zeros(VARIABLES)), VARIABLES)
        assert_same(initialize_from(str(tmp_path / name), LOOPED, zeros(STACKED)), STACKED)


def test_another_class_count_keeps_the_fresh_head_and_says_so(weights: str) -> None:
    seven = PLAIN.clone(num_classes=7)
    said: list[str] = []
    variables = initialize_from(weights, seven, zeros(quick.trained(seven, (32, 32, 3))), said.append)
    assert said == [f"{weights} has another number of classes: the head starts anew"]
    assert not variables["params"]["head"]["kernel"].any()
    assert count_outputs(variables) == 7
    assert count_outputs(read_variables(weights, seven)) == 10
    assert_same(variables["params"]["stem_conv"], VARIABLES["params"]["stem_conv"])


def test_weights_for_other_channels_name_the_way_out(weights: str) -> None:
    gray = zeros(quick.trained(PLAIN, (32, 32, 1)))
    with pytest.raises(ConfigError, match=r"images of 3 channels, the data has 1: .* --in-channels 1"):
        initialize_from(weights, PLAIN, gray)


def test_what_cannot_be_read_is_a_setting_at_fault(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"junk")
    with pytest.raises(ConfigError, match="not a whole safetensors file"):
        read_variables(str(tmp_path / "a.safetensors"), PLAIN)
    with pytest.raises(ConfigError, match="there is no file"):
        read_variables(str(tmp_path / "b.safetensors"), PLAIN)
