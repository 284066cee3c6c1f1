"""Names of pretrained weights wherever weights are named."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import evaluate, export, predict
from experiments.inference.names import check_exists
from experiments.inference.network import initialize_from
from experiments.inference.trained import NetworkConfig, open_network
from experiments.program.errors import ConfigError
from jax_resnet import checkpoint
from jax_resnet.convert import from_torch, read_state_dict
from jax_resnet.errors import WeightsError
from tests.helpers import published

NAME = "tiny.digits"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, with the pretrained weights ``tiny.digits`` elsewhere."""
    folder = tmp_path / "pretrained"
    folder.mkdir()
    published.write(folder)
    monkeypatch.setattr("jax_resnet.pretrained.files.FOLDER", folder)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder


def test_evaluation_needs_the_name_alone_and_compares_with_the_card(
    here: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--data-dir", str(data_dir), "--out", "out"]
    evaluate.main([NAME, *flags])  # the card's data set, not CIFAR-10
    found = json.loads(Path("out/evaluation.json").read_text())
    assert found["dataset"] == "digits"
    assert found["weights"] == NAME
    assert found["mean"] == [0.4, 0.5, 0.6]
    right = round(found["accuracy"] * 355)
    said = capsys.readouterr().out
    assert (
        f"the card of {NAME} says another accuracy: 0.5000, 178 of 355 images right instead of {right}"
        in said
    )
    published.write(here, test_accuracy=found["accuracy"])
    evaluate.main(["--weights", NAME, *flags, "--overwrite"])
    assert f"the card of {NAME} says the same accuracy: {found['accuracy']:.4f}" in capsys.readouterr().out
    # Other evaluations than the card's are not compared with it.
    evaluate.main([NAME, *flags, "--overwrite", "--tta", "flip"])
    evaluate.main([NAME, *flags, "--overwrite", *("--mean", *"000"), *("--std", *"111")])
    assert "card" not in capsys.readouterr().out


def test_prediction_takes_class_names_and_pixels_from_the_card(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published.write(here, class_names=[f"digit {label}" for label in range(10)])
    Image.fromarray(np.full((40, 50, 3), 99, np.uint8)).save("gray.png")
    predict.main([NAME, "gray.png", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["network"] == "resnet8"
    (image,) = found["images"]
    assert image["predictions"][0]["class"].startswith("digit ")


def test_export(here: Path) -> None:
    export.main([NAME, "--format", "safetensors", "--out", "a.safetensors"])
    exported = from_torch(read_state_dict("a.safetensors"), published.MODEL)
    jax.tree.map(np.testing.assert_array_equal, exported, published.VARIABLES)
    export.main([NAME, "--format", "orbax", "--out", "checkpoint"])
    _, variables, config = checkpoint.restore("checkpoint")
    jax.tree.map(np.testing.assert_array_equal, variables, published.VARIABLES)
    assert config["data"]["class_names"] == list("0123456789")
    assert config["model"] == {"name": "resnet8", **published.OPTIONS}


def test_training_starts_from_them(here: Path) -> None:
    zeros = jax.tree.map(np.zeros_like, published.VARIABLES)
    found = initialize_from(NAME, published.MODEL, zeros)
    jax.tree.map(np.testing.assert_array_equal, found, published.VARIABLES)
    with pytest.raises(ConfigError, match=r"--init-from tiny\.digit does not exist; did you mean"):
        initialize_from("tiny.digit", published.MODEL, zeros)


def test_a_file_or_folder_of_the_name_goes_first_and_says_so(here: Path) -> None:
    checkpoint.save(NAME, published.VARIABLES, {"model": {"name": "resnet8", **published.OPTIONS}})
    said: list[str] = []
    network = open_network(NAME, NetworkConfig(), said.append)
    assert network.card is None
    assert said == [f"{NAME} is taken from the file or folder of that name, not from the package's weights"]


def test_wrong_names_and_flags(here: Path) -> None:
    check_exists(NAME, "")
    cases: list[tuple[Any, list[str], str]] = [
        (evaluate, ["tiny.digit"], r"^tiny\.digit does not exist; did you mean tiny\.digits"),
        (
            evaluate,
            ["--weights", "x"],
            r"^--weights x does not exist: .* weights \(tiny\.digits\)",
        ),
        (evaluate, [], "which weights"),
        (evaluate, [NAME, "--weights", NAME], "name one network"),
        (evaluate, [NAME, "--arch", "resnet20"], "is of a resnet8; leave --arch out"),
        (evaluate, [NAME, "--which", "last"], rf"^--which last is for a run, not for {NAME}: leave it out"),
        (evaluate, [NAME, "--stem", "imagenet"], "--stem is for a file of weights, not for"),
        (predict, ["tiny.digit", "cat.png"], "did you mean"),
        (export, ["tiny.digit", "--format", "onnx", "--out", "a"], "did you mean"),
    ]
    for program, flags, message in cases:
        with pytest.raises(ConfigError, match=message):
            program.main(flags)


def test_damaged_weights_end_every_program(here: Path) -> None:
    (here / f"{NAME}.safetensors").write_bytes(b"damaged")
    for program, flags in (
        (evaluate, []),
        (predict, ["cat.png"]),
        (export, ["--format", "onnx", "--out", "a"]),
    ):
        with pytest.raises(WeightsError, match=r"the weights of tiny\.digits are damaged"):
            program.main([NAME, *flags])
