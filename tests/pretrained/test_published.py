"""The networks that the package ships: their cards, and that they do what the cards say."""

import numpy as np
import pytest

from experiments.inference.config import EvaluateConfig
from experiments.inference.evaluate import evaluate_weights
from experiments.program.console import Console
from jax_resnet import data
from jax_resnet.data.registry import DATASETS
from jax_resnet.pretrained import list_pretrained, load_pretrained, weights_path

NAMES = list_pretrained()


@pytest.mark.parametrize("name", NAMES)
def test_a_published_network_loads_and_fits_its_card(name: str) -> None:
    model, variables, card = load_pretrained(name)
    assert card.name == name
    assert card.dataset == name.rsplit(".", 1)[1]
    assert card.class_names == DATASETS[card.dataset].class_names
    assert card.test_images == DATASETS[card.dataset].test_size
    images = np.zeros((1, *card.image_shape), np.uint8)
    assert model.apply(variables, card.preprocess(images), train=False).shape == (1, len(card.class_names))
    assert weights_path(name).stat().st_size < 25e6


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_published_network_has_the_accuracy_of_its_card(name, tmp_path, capsys) -> None:
    _, _, card = load_pretrained(name)
    try:
        data.load(card.dataset, download=False)
    except data.DataError as error:
        pytest.skip(f"{card.dataset} is not in {data.default_data_dir()}: {str(error).splitlines()[0]}")
    config = EvaluateConfig(source=name, dataset=card.dataset, out=str(tmp_path / "out"))
    found = evaluate_weights(config, Console())
    assert found["accuracy"] == card.test_accuracy
    assert found["images"] == card.test_images
    assert f"the card of {name} says the same accuracy" in capsys.readouterr().out
