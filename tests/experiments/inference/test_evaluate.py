import json

import jax
import numpy as np
import pytest

from experiments import evaluate
from experiments.cifar10 import main as train
from experiments.inference.config import EvaluateConfig
from experiments.inference.evaluate import default_folder
from experiments.program.errors import ConfigError
from jax_resnet import checkpoint
from jax_resnet.convert import to_torch
from jax_resnet.convert.files import write_state_dict
from jax_resnet.models import create_model


def evaluated(tmp_path, data_dir, *flags):
    out = tmp_path / "out"
    evaluate.main(["--dataset", "digits", "--data-dir", str(data_dir), "--out", str(out), *flags])
    assert (out / "confusion.png").read_bytes().startswith(b"\x89PNG")
    return json.loads((out / "evaluation.json").read_text())


@pytest.fixture
def exported(finished, tmp_path):
    """The finished run's last network as a file with PyTorch's names."""
    model, variables, _ = checkpoint.restore(finished, "last")
    path = tmp_path / "weights.safetensors"
    write_state_dict(path, to_torch(variables, model, style="akamaster"))
    return path


def test_a_run_evaluates_to_what_its_summary_says(finished, tmp_path, data_dir):
    summary = json.loads((finished / "summary.json").read_text())
    found = evaluated(tmp_path, data_dir, "--weights", str(finished), "--which", "last")
    assert found["accuracy"] == summary["test_accuracy"]
    assert found["loss"] == pytest.approx(summary["test_loss"], rel=1e-5)
    confusion = np.array(found["confusion"])
    assert confusion.sum() == found["images"] == 355
    assert confusion.trace() / confusion.sum() == found["accuracy"]
    per_class = confusion.diagonal() / confusion.sum(1)
    np.testing.assert_allclose(list(found["per_class_accuracy"].values()), per_class)


def test_a_run_is_evaluated_on_its_own_data(finished, tmp_path, capsys):
    evaluate.main([str(finished), "--out", str(tmp_path / "out")])
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["dataset"] == "digits"
    with pytest.raises(ConfigError, match=r"not a folder"):
        evaluate.main([str(finished), "--out", str(tmp_path / "out" / "evaluation.json" / "deeper")])


def test_a_file_of_weights_evaluates_as_the_run_they_come_from(finished, exported, tmp_path, data_dir):
    summary = json.loads((finished / "summary.json").read_text())
    found = evaluated(tmp_path, data_dir, "--weights", str(exported), "--arch", "resnet8")
    assert found["accuracy"] == summary["test_accuracy"]


@pytest.mark.parametrize("tta", ["flip", "flip-shift"])
def test_views_are_averaged(finished, tmp_path, data_dir, tta):
    from experiments.inference.evaluate import VIEWS, AveragedViews

    found = evaluated(tmp_path, data_dir, "--weights", str(finished), "--tta", tta)
    assert found["tta"] == tta
    model, variables, _ = checkpoint.restore(finished)
    images = np.random.default_rng(0).standard_normal((4, 32, 32, 3)).astype(np.float32)
    averaged = AveragedViews(model, VIEWS[tta]).apply(variables, images, train=False)
    expected = sum(
        weight * jax.nn.softmax(model.apply(variables, view, train=False))
        for view, weight in VIEWS[tta](images)
    )
    np.testing.assert_allclose(np.exp(averaged), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "which weights[?]"),
        (["--weights", "nowhere.safetensors"], "--weights nowhere.safetensors does not exist"),
    ],
)
def test_weights_that_are_not_there(tmp_path, flags, message):
    with pytest.raises(ConfigError, match=message):
        evaluate.main(flags)


def test_weights_of_another_network_are_refused_by_name(exported, tmp_path):
    with pytest.raises(ConfigError, match="--arch NAME is needed"):
        evaluate.main(["--weights", str(exported)])
    with pytest.raises(ConfigError, match=r"do not fit ResNet.*no layer1\.1\.bn1"):
        evaluate.main(["--weights", str(exported), "--arch", "resnet14"])


def test_a_truncated_file_is_named(exported):
    exported.write_bytes(exported.read_bytes()[:1000])
    with pytest.raises(ConfigError, match=r"weights\.safetensors is not a whole safetensors file"):
        evaluate.main(["--weights", str(exported), "--arch", "resnet8"])


@pytest.mark.parametrize(
    ("settings", "folder"),
    [
        ({"weights": "resnet20.cifar10"}, "resnet20.cifar10"),
        ({"weights": "resnet20.cifar10", "tta": "flip-shift"}, "resnet20.cifar10-flip-shift"),
        ({"weights": "resnet20.cifar10", "dataset": "digits"}, "resnet20.cifar10-digits"),
        ({"weights": "runs/mine/seed3"}, "mine-seed3-cifar10"),
        ({"source": "runs/mine"}, "mine-cifar10"),
        ({"weights": "mine.v2.safetensors"}, "mine.v2-cifar10"),
    ],
)
def test_every_evaluation_has_a_folder_of_its_own(tmp_path, monkeypatch, settings, folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.v2.safetensors").touch()
    assert default_folder(EvaluateConfig(**settings)) == f"evaluations/{folder}"


def test_an_evaluation_is_not_overwritten_unasked(finished, tmp_path):
    (tmp_path / "evaluation.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds an evaluation already"):
        evaluate.main(["--weights", str(finished), "--dataset", "digits", "--out", str(tmp_path)])


def test_a_picture_of_somebody_is_not_overwritten_unasked(finished, tmp_path):
    (tmp_path / "confusion.png").write_bytes(b"mine")
    with pytest.raises(ConfigError, match=r"holds an evaluation already, confusion\.png: --overwrite it"):
        evaluate.main(["--weights", str(finished), "--dataset", "digits", "--out", str(tmp_path)])
    assert (tmp_path / "confusion.png").read_bytes() == b"mine"


def test_flags_without_effect_are_refused(finished):
    with pytest.raises(ConfigError, match="--image-size has no effect without images that are streamed"):
        evaluate.main([str(finished), "--image-size", "64"])


def test_a_checkpoint_is_evaluated_on_the_data_of_its_run(finished):
    assert evaluate.trained_on(str(finished))["dataset"] == "digits"
    newest = max((finished / "checkpoints").iterdir(), key=lambda folder: folder.stat().st_mtime)
    assert evaluate.trained_on(str(newest))["dataset"] == "digits"


@pytest.mark.slow
def test_fine_tuning_starts_from_the_weights(finished, exported, small, tmp_path):
    for source in (finished, exported):
        workdir = tmp_path / f"from-{source.name}"
        flags = ["--init-from", str(source), "--max-steps", "1", "--learning-rate", "1e-6"]
        train([*small, *flags, "--workdir", str(workdir)])
        summary = json.loads((workdir / "summary.json").read_text())
        assert summary["test_accuracy"] == pytest.approx(
            json.loads((finished / "summary.json").read_text())["test_accuracy"], abs=0.05
        )


@pytest.mark.slow
def test_fine_tuning_gives_another_class_count_a_fresh_head(small, tmp_path):
    model = create_model("resnet8", num_classes=7)
    variables = model.init(jax.random.key(5), np.zeros((1, 32, 32, 3), np.float32), train=False)
    write_state_dict(tmp_path / "seven.safetensors", to_torch(variables, model, style="torchvision"))
    train(
        [
            *small,
            *("--init-from", str(tmp_path / "seven.safetensors"), "--max-steps", "1"),
            *("--learning-rate", "1e-12", "--weight-decay", "0", "--workdir", str(tmp_path / "run")),
        ]
    )
    tuned = checkpoint.restore(tmp_path / "run", "last").variables["params"]
    assert tuned["head"]["kernel"].shape == (64, 10)
    np.testing.assert_allclose(tuned["stem_conv"]["kernel"], variables["params"]["stem_conv"]["kernel"])


def test_fine_tuning_from_another_network_is_refused(finished, small, tmp_path):
    flags = ["--init-from", str(finished), "--arch", "resnet14", "--workdir", str(tmp_path / "run")]
    with pytest.raises(ConfigError, match=r"--init-from .* has no params/stage1_block2"):
        train([*small, *flags])
