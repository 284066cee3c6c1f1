"""Classes of a folder are matched with the network's by name, never by position."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from experiments import evaluate
from experiments.imagenet import main as train
from experiments.program.errors import ConfigError
from jax_resnet.errors import DataError

SMALL = ("--arch", "resnet8", "--stem", "cifar", "--image-size", "16", "--workers", "0", "--batch-size", "12")
SIZES = (
    *("--epochs", "2", "--learning-rate", "0.05", "--warmup", "0", "--val-size", "0"),
    *("--schedule", "constant"),
)
COLORS = {"1": (250, 10, 10), "2": (10, 250, 10), "10": (10, 10, 250)}


def write_images(root, names, parts=("train", "val"), count=8):
    """A folder whose images of each class have that class's color, with a little noise."""
    rng = np.random.default_rng(0)
    for part in parts:
        for name, color in zip(names, COLORS.values(), strict=True):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(color + rng.normal(0, 20, (20, 24, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A network trained on classes 1, 2 and 10, whose sorted order is 1, 10, 2."""
    root = tmp_path_factory.mktemp("classes")
    write_images(root / "data", COLORS)
    train([*SMALL, *SIZES, "--data-dir", str(root / "data"), "--workdir", str(root / "run")])
    return root / "run"


def accuracy(run, data, out, *flags):
    shared = ["--weights", str(run), "--dataset", "folder", "--data-dir", str(data), "--workers", "0"]
    evaluate.main([*shared, "--out", str(out), *flags])
    return json.loads((out / "evaluation.json").read_text())["accuracy"]


def test_the_same_names_evaluate_as_they_are_without_a_train_folder(run, tmp_path):
    data = write_images(tmp_path / "data", COLORS, parts=("val",))
    assert accuracy(run, data, tmp_path / "out") == 1.0


def test_other_names_are_refused_and_can_be_mapped(run, tmp_path):
    data = write_images(tmp_path / "data", ("01", "02", "10"))
    with pytest.raises(ConfigError, match=r"--class-map: .*01"):
        accuracy(run, data, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    assert accuracy(run, data, tmp_path / "out", "--class-map", "01=1", "02=2") == 1.0


def test_some_of_the_classes_in_another_order_are_found_by_name(run, tmp_path):
    data = write_images(tmp_path / "data", COLORS)
    shutil.rmtree(data / "val" / "1")
    shutil.rmtree(data / "train")
    assert accuracy(run, data, tmp_path / "out") == 1.0


def test_names_that_plots_could_misread_are_evaluated_and_drawn(tmp_path, capsys):
    names = ("$x_$", "US$5_US$10", "a[b]<c>{d} 猫")
    data = write_images(tmp_path / "data", names)
    train([*SMALL, *SIZES, "--data-dir", str(data), "--workdir", str(tmp_path / "run")])
    capsys.readouterr()
    assert accuracy(tmp_path / "run", data, tmp_path / "out") == 1.0
    assert (tmp_path / "out" / "confusion.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert all(name in said for name in names)


def test_unreadable_images_are_named_together_or_skipped(run, tmp_path, capsys):
    data = write_images(tmp_path / "data", COLORS, parts=("val",))
    (data / "val" / "1" / "0.png").write_bytes(b"no image")
    (data / "val" / "2" / "3.png").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be read"):
        accuracy(run, data, tmp_path / "refused")
    assert accuracy(run, data, tmp_path / "out", "--skip-unreadable") == 1.0
    assert "they are left out" in capsys.readouterr().out
