"""Each training program on its own data set, cut down to 50 and 20 images in the original's layout."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from experiments import cifar100, mnist
from jax_resnet import checkpoint
from jax_resnet.data import registry
from tests.helpers import datasets as helpers

STEPS = ("--max-steps", "2", "--log-every", "1", "--val-size", "0", "--batch-size", "10")


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """From a data set's name to the flags of a short run on its archive, and the run's folder."""

    def tiny(name):
        spec = helpers.tiny_spec(name)
        monkeypatch.setitem(registry.DATASETS, name, spec)
        splits = helpers.tiny_splits(spec)
        if name == "mnist":
            archive = helpers.write_folder(tmp_path / "mnist", helpers.mnist_files(splits))
        else:
            files = helpers.binary_files(name, splits)
            archive = helpers.write_tar(tmp_path / "cifar-100-binary.tar.gz", files, "cifar-100-binary")
        run = tmp_path / "run"
        where = ("--archive", str(archive), "--data-dir", str(tmp_path / "data"), "--workdir", str(run))
        return [*where, *STEPS], run

    return tiny


def summary(run):
    return json.loads((run / "summary.json").read_text())


@pytest.mark.slow
def test_cifar100_has_a_hundred_classes(tiny):
    flags, run = tiny("cifar100")
    cifar100.main([*flags, "--arch", "resnet8", "--recipe", "paper"])
    assert (summary(run)["dataset"], summary(run)["recipe"]) == ("cifar100", "paper")
    with np.load(run / "predictions.npz") as predictions:
        assert predictions["logits_last"].shape == (20, 100)
    restored = checkpoint.restore(run)
    assert len(restored.config["data"]["class_names"]) == 100
    assert restored.variables["params"]["head"]["kernel"].shape == (64, 100)


@pytest.mark.parametrize(("arch", "side"), [("mnist_cnn", 28), ("resnet8", 32)])
@pytest.mark.slow
def test_mnist_comes_in_the_size_that_the_network_was_made_for(tiny, arch, side):
    flags, run = tiny("mnist")
    mnist.main([*flags, "--arch", arch])
    assert summary(run)["dataset"] == "mnist"
    assert checkpoint.restore(run).config["data"]["image_shape"] == [side, side, 1]


def test_tutorial_003_trains_by_adam_and_watches_the_test_set(tiny):
    flags, run = tiny("mnist")
    mnist.main([*flags, "--recipe", "tutorial-003", "--arch", "mnist_cnn", "--max-steps", "5"])
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    falling = [1e-3 * (1 + math.cos(math.pi * step / 50)) / 2 for step in range(5)]
    assert [r["learning_rate"] for r in records if r["kind"] == "train"] == pytest.approx(falling)
    assert [r["which"] for r in records if r["kind"] == "test"] == ["watched", "last"]


def test_programs_import_jax_only_when_they_run():
    # malloc is set before jax is imported, see experiments.program.start.
    programs = "cifar10, cifar100, compare, degradation, evaluate, imagenet, mnist, resnext"
    code = f"import sys; from experiments import {programs}; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
