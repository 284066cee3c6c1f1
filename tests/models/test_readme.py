"""The guide's examples of networks, transformations and a loop of one's own, executed as they stand."""

import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest

import jax_resnet


@pytest.mark.slow
def test_the_examples_of_networks_run() -> None:
    text = (Path(jax_resnet.__file__).parent / "README.md").read_text(encoding="utf-8")
    section = text[text.index("## Networks") :]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    last = next(number for number, block in enumerate(blocks) if "PartitionSpec()" in block)
    names: dict[str, Any] = {}
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        for block in blocks[: last + 1]:
            exec(block, names)
    assert set(names["maps"]) == {"stem", "stage1", "stage2", "stage3"}
    images = names["images"]
    assert names["value"] > 1
    assert all(g.shape[0] == len(images) for g in jax.tree.leaves(names["per_example"]))
    assert 0 < float(optax.tree.norm(names["product"])) < np.inf
    expected = names["model"].apply(names["variables"], images, train=False)
    np.testing.assert_allclose(names["logits"], expected, rtol=1e-3, atol=1e-4)
