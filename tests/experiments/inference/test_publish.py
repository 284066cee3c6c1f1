"""Publishing a run: weights and card from its folder, both checked before anything is kept."""

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from experiments import publish
from experiments.cifar10 import main as train
from experiments.inference.finished import FinishedRun, protocol_of, read_finished
from experiments.program.errors import ConfigError, ExperimentError
from jax_resnet import checkpoint
from jax_resnet.errors import CheckpointError
from jax_resnet.pretrained import list_pretrained, load_pretrained

NAME = "resnet8.digits"


@pytest.fixture
def into(tmp_path: Path, data_dir: Path) -> list[str]:
    """Flags that publish into an empty folder."""
    (tmp_path / "pretrained").mkdir()
    return ["--folder", str(tmp_path / "pretrained"), "--data-dir", str(data_dir)]


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed, with a commit in its records."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    change(folder / "config.json", commit="0123456789abcdef")
    return folder


def change(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def published_in(folder: str) -> list[str]:
    return sorted(file.name for file in Path(folder).iterdir())


def test_a_published_run_is_loaded_by_its_name(
    copied: Path, into: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    publish.main([str(copied), *into])
    said = capsys.readouterr().out
    assert f"published {NAME}" in said
    assert published_in(into[1]) == [f"{NAME}.json", f"{NAME}.safetensors"]
    assert list_pretrained(folder=into[1]) == [NAME]
    _, variables, card = load_pretrained(NAME, folder=into[1])
    restored = checkpoint.restore(copied)
    jax.tree.map(np.testing.assert_array_equal, variables, restored.variables)
    summary = json.loads((copied / "summary.json").read_text())
    config = json.loads((copied / "config.json").read_text())
    assert card.run_test_accuracy == card.test_accuracy == summary["test_accuracy_best"]
    assert card.step == summary["best_step"]
    assert card.protocol == ("1,342 images to train on, 100 held out to choose the checkpoint, tested once")
    assert card.command.startswith("python -m experiments.cifar10 --arch resnet8 --recipe standard")
    assert "--data-dir" not in card.command
    assert "--workdir" not in card.command
    assert card.commit == "0123456789abcdef"
    assert (card.seed, card.epochs, card.machine) == (0, 2.0, summary["device"])
    assert card.mean == tuple(config["data"]["mean"])
    assert card.options == {"num_classes": 10}
    assert card.versions == config["versions"]
    assert card.weights_license == "Apache-2.0"
    assert "UCI" in card.data_license


def test_half_the_size(copied: Path, into: list[str]) -> None:
    publish.main([str(copied), *into, "--name", "whole.digits"])
    publish.main([str(copied), *into, "--name", "half.digits", "--half"])
    whole, half = (load_pretrained(f"{size}.digits", folder=into[1]) for size in ("whole", "half"))
    assert half.card.test_accuracy >= whole.card.test_accuracy
    sizes = [(Path(into[1]) / f"{size}.digits.safetensors").stat().st_size for size in ("half", "whole")]
    assert sizes[0] < 0.65 * sizes[1]
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(half.variables))
    statistics = half.variables["batch_stats"], whole.variables["batch_stats"]
    jax.tree.map(np.testing.assert_array_equal, *statistics)


def test_a_name_is_replaced_only_on_demand(copied: Path, into: list[str]) -> None:
    publish.main([str(copied), *into])
    before = (Path(into[1]) / f"{NAME}.json").read_bytes()
    change(copied / "summary.json", seconds=1.0)
    with pytest.raises(ConfigError, match=rf"{NAME} is published already: --overwrite it"):
        publish.main([str(copied), *into])
    assert (Path(into[1]) / f"{NAME}.json").read_bytes() == before
    publish.main([str(copied), *into, "--overwrite"])
    assert load_pretrained(NAME, folder=into[1]).card.seconds == 1.0


def test_command_and_commit_are_given_only_where_the_records_have_none(copied: Path, into: list[str]) -> None:
    for flag in ("--commit", "--command"):
        with pytest.raises(ConfigError, match=rf"{flag}: the run's own is known"):
            publish.main([str(copied), *into, flag, "x"])
    change(copied / "config.json", commit=None)
    with pytest.raises(ConfigError, match="the run's commit is not known from its records: give --commit"):
        publish.main([str(copied), *into])
    config = json.loads((copied / "config.json").read_text())["config"]
    other_version = {**config, "model": {**config["model"], "setting_of_another_version": 1}}
    for settings in (other_version, {**config, "recipe": "forgotten"}):
        change(copied / "config.json", config=settings)
        with pytest.raises(ConfigError, match="the run's command is not known"):
            publish.main([str(copied), *into, "--commit", "abc"])
    publish.main([str(copied), *into, "--commit", "abc", "--command", "python train.py"])
    card = load_pretrained(NAME, folder=into[1]).card
    assert (card.command, card.commit) == ("python train.py", "abc")


def lose_validations(folder: Path) -> None:
    (folder / "metrics.jsonl").unlink()


def damage_summary(folder: Path) -> None:
    (folder / "summary.json").write_text("[]")


def poison(folder: Path) -> None:
    """Puts a checkpoint with NaN in it in the place of the run's."""
    _, variables, config = checkpoint.restore(folder)
    variables["params"]["head"]["bias"] = np.full(10, np.nan, np.float32)
    shutil.rmtree(folder / "checkpoints")
    step = json.loads((folder / "summary.json").read_text())["best_step"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jax_resnet.checkpoint.portable.check_finite", lambda variables: None)
        (folder / "checkpoints").mkdir()
        checkpoint.save(folder / "checkpoints" / str(step), variables, config)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "summary.json").unlink(), r"summary\.json: .*a run has one when it is finished"),
        (lambda f: change(f / "summary.json", steps=3), r"is not finished: it stopped at step 3 of \d+"),
        (lambda f: change(f / "summary.json", seed="0"), r"summary\.json has no valid seed"),
        (lambda f: change(f / "config.json", data=[]), r"config\.json has no valid data/name"),
        (lambda f: change(f / "config.json", config=None), r"config\.json has no valid config"),
        (damage_summary, r"summary\.json: not a JSON object"),
        (lose_validations, r"metrics\.jsonl lacks the validations that chose the checkpoint"),
        (lambda f: shutil.rmtree(f / "checkpoints"), "holds no checkpoint"),
        (lambda f: change(f / "summary.json", test_accuracy_best=0.01), "too far apart for rounding"),
        (poison, "holds NaN or infinity"),
    ],
)
def test_runs_that_cannot_be_published(damage: Any, message: str, copied: Path, into: list[str]) -> None:
    damage(copied)
    with pytest.raises((ExperimentError, CheckpointError), match=message) as caught:
        publish.main([str(copied), *into])
    assert "\n" not in str(caught.value)
    assert published_in(into[1]) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "which run"),
        ("none", "none is not a folder"),
        (". --name ResNet20", "--name ResNet20 is not small letters"),
        (". --name ../x.y", "--name"),
        (". --folder none", "--folder none is not a folder"),
    ],
)
def test_wrong_settings_are_named(flags: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        publish.main(flags.split())


def test_protocols_say_what_chose_the_checkpoint(finished: Path) -> None:
    run: FinishedRun = read_finished(finished)
    last = run._replace(which="last")
    assert "held out to validate on, the last checkpoint kept, tested once" in protocol_of(last, 1442)
    everything = run._replace(val_images=0, which="last")
    assert (
        protocol_of(everything, 50_000) == "all 50,000 images to train on, the last checkpoint, tested once"
    )
    assert protocol_of(run, 1000, own_split=True).startswith(
        f"1,000 images to train on, {run.val_images} others to choose the checkpoint, tested once"
    )
    assert protocol_of(run._replace(watched=True), 1442).endswith("during training, which chose nothing")


@pytest.mark.slow
def test_a_run_without_validation_publishes_its_last_checkpoint(
    small: list[str], tmp_path: Path, into: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--val-size", "0", "--dtype", "bf16", "--epochs", "4", "--scan-layers"]
    train([*small, *flags, "--workdir", str(tmp_path / "run")])
    change(tmp_path / "run" / "config.json", commit="abc")
    monkeypatch.setattr("experiments.inference.publish.LARGEST_DIFFERENCE", 0.02)  # of so short a training
    publish.main([str(tmp_path / "run"), *into])
    model, variables, card = load_pretrained(NAME, folder=into[1])
    assert model.dtype == np.float32
    assert "stage1_block1" in variables["params"]
    assert card.val_accuracy is None
    assert card.protocol == "all 1,442 images to train on, the last checkpoint, tested once"
    assert "--dtype bf16" in card.command
