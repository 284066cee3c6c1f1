"""``--center per-pixel``: the mean image of He et al. 2015, from training to evaluation and export."""

import json

import jax
import jax.export
import numpy as np
import pytest
from PIL import Image

from experiments.cifar10 import main
from experiments.evaluate import main as evaluate
from experiments.export import main as export
from experiments.predict import main as predict
from experiments.program.errors import ConfigError
from experiments.publish import main as publish
from experiments.settings.flags import parse
from experiments.training.build import build_experiment
from jax_resnet import checkpoint, data
from jax_resnet.data.augment import normalize
from tests.helpers import quick

PER_PIXEL = ("--center", "per-pixel", "--padding", "mean")


@pytest.fixture(scope="module")
def run(small, tmp_path_factory):
    """A finished run on digits. Not to be written to."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    main([*small, *PER_PIXEL, "--epochs", "1", "--workdir", str(folder)])
    return folder


def test_the_mean_is_that_of_the_images_to_train_on(small):
    config = parse("experiments.cifar10", "", [*small, *PER_PIXEL], "cifar10")
    config.check()
    experiment = build_experiment(config, data.load("digits"))
    images = experiment.data.train.images
    np.testing.assert_allclose(experiment.data.mean, images.mean(0) / 255, atol=1e-6)
    assert experiment.data.std == data.load("digits").std


def test_a_run_is_evaluated_as_it_was_trained(run, data_dir, tmp_path):
    flags = ["--dataset", "digits", "--data-dir", str(data_dir), "--out", str(tmp_path / "e")]
    evaluate(["--weights", str(run), *flags])
    found = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    summary = json.loads((run / "summary.json").read_text())
    assert found["accuracy"] == pytest.approx(summary["test_accuracy"])
    written = json.loads((run / "config.json").read_text())["data"]
    assert found["mean"] == written["mean"]
    assert list(np.shape(found["mean"])) == written["image_shape"]


@pytest.mark.parametrize("form", ["onnx", "stablehlo"])
def test_an_export_has_the_mean_inside(form, run, tmp_path):
    out = tmp_path / "a"
    model, variables, config = checkpoint.restore(run)[:3]
    images = np.random.default_rng(0).integers(0, 256, (2, *config["data"]["image_shape"]), np.uint8)
    x = normalize(images, config["data"]["mean"], config["data"]["std"])
    expected = quick.jit(lambda v, x: model.apply(v, x, train=False))(variables, x)
    if form == "onnx":
        runtime = pytest.importorskip("onnxruntime", reason="runs ONNX, and onnxruntime is not installed")
        export([str(run), "--format", form, "--out", str(out)])
        found = runtime.InferenceSession(out).run(None, {"images": images})[0]
    else:
        pytest.importorskip("flatbuffers", reason="jax.export serializes with it, and it is not installed")
        export([str(run), "--format", form, "--out", str(out)])
        found = jax.export.deserialize(bytearray(out.read_bytes())).call(images)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_it_predicts_as_it_was_tested(run, tmp_path, capsys):
    image = data.load("digits").test.images[0]
    Image.fromarray(image.squeeze()).save(tmp_path / "digit.png")
    predict([str(run), str(tmp_path / "digit.png"), "--top", "10", "--json"])
    (found,) = json.loads(capsys.readouterr().out)["images"]
    with np.load(run / "predictions.npz") as arrays:
        expected = jax.nn.softmax(arrays["logits_best"][0])
    given = {p["class"]: p["probability"] for p in found["predictions"]}
    np.testing.assert_allclose(
        [given[name] for name in data.load("digits").class_names], expected, rtol=1e-3, atol=1e-6
    )
    with pytest.raises(ConfigError, match=r"--image-size: .* has a mean of every pixel"):
        predict([str(run), str(tmp_path / "digit.png"), "--image-size", "64"])


def test_it_is_not_published(run, tmp_path):
    with pytest.raises(ConfigError, match="trained with --center per-pixel"):
        publish([str(run), "--folder", str(tmp_path)])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--center per-pixel", "add --padding mean"),
        ("--center per-pixel --padding mean --mean 0 0 0 --std 1 1 1", "leave --mean out"),
        ("--center per-pixel --padding mean --dataset folder --data-dir .", "images in memory"),
        ("--center per-image", "per-image"),
    ],
)
def test_what_does_not_go_with_it_is_one_line(flags, message):
    with pytest.raises(ConfigError, match=message):
        parse("experiments.cifar10", "", flags.split(), "cifar10").check()
