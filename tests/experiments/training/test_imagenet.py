import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from experiments.evaluate import main as evaluate
from experiments.imagenet import main
from experiments.program.errors import ConfigError, ExperimentError
from jax_resnet import checkpoint
from jax_resnet.data import DataError
from tests.helpers.processes import alive, wait_until

pytest.importorskip("grain", reason="streaming needs grain")

SMALL = [
    *("--arch", "resnet8", "--stem", "cifar", "--image-size", "32", "--batch-size", "16", "--epochs", "3"),
    *("--learning-rate", "0.05", "--warmup-epochs", "0", "--log-every", "1", "--eval-batch-size", "10"),
]
STEPS = 9  # three epochs of three batches of the 60 images


@pytest.fixture(scope="module")
def small(image_folder):
    """Flags of a run of a few seconds."""
    return [*SMALL, "--data-dir", str(image_folder)]


@pytest.fixture(scope="module")
def finished(small, tmp_path_factory):
    """The folder of a run that went through, without workers. Not to be written to."""
    workdir = tmp_path_factory.mktemp("finished")
    main([*small, "--workers", "0", "--workdir", str(workdir)])
    return workdir


def records(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def assert_same(run, other):
    """Same losses at every step, same weights at the end."""
    losses = [
        [(r["step"], r["loss"], r["accuracy"]) for r in records(w) if r["kind"] == "train"]
        for w in (run, other)
    ]
    assert losses[0] == losses[1]
    a, b = (checkpoint.restore(w, "last").variables for w in (run, other))
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_folder_of_images_is_trained_and_tested_on(finished):
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["recipe"] == "imagenet"
    assert summary["steps"] == STEPS
    assert summary["val_accuracy"] is None
    train = [r for r in records(finished) if r["kind"] == "train"]
    assert sum(r["images"] for r in train) == 16 * STEPS
    losses = [r["loss"] for r in train]
    assert sum(losses[-3:]) < sum(losses[:3])
    watched = [r for r in records(finished) if r.get("which") == "watched"]
    assert [r["epoch"] for r in watched] == [1, 2, 3]
    with np.load(finished / "predictions.npz") as predictions:
        np.testing.assert_array_equal(predictions["labels"], [0] * 9 + [1] * 9)
        right = predictions["logits_last"].argmax(1) == predictions["labels"]
    assert summary["test_accuracy"] == right.mean()
    config = json.loads((finished / "config.json").read_text())
    assert config["data"]["class_names"] == ["china", "flower"]
    assert config["data"]["image_shape"] == [32, 32, 3]
    assert config["data"]["mean"] == [0.485, 0.456, 0.406]


@pytest.mark.slow
def test_a_run_stopped_within_an_epoch_goes_on_bit_for_bit(finished, small, tmp_path):
    main([*small, "--workers", "2", "--max-steps", "4", "--workdir", str(tmp_path)])
    state = json.loads((tmp_path / "checkpoints" / "4" / "data" / "metadata").read_text())
    assert state["examples"] == 4 * 16
    main(["--resume", "--workers", "1", "--workdir", str(tmp_path)])
    assert_same(tmp_path, finished)


def test_other_images_cannot_be_resumed(image_folder, tmp_path):
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(image_folder, data)
    flags = [*SMALL, "--data-dir", str(data), "--workers", "0", "--workdir", str(run)]
    main([*flags, "--max-steps", "2"])
    (data / "train" / "china" / "000.jpg").unlink()
    with pytest.raises(
        ExperimentError, match="training data has changed: the checkpoint is 32 examples into 60"
    ):
        main(["--resume", "--workdir", str(run)])


def children(pid):
    return [
        int(stat.parent.name)
        for stat in Path("/proc").glob("[0-9]*/stat")
        if (text := read(stat)) and text.rsplit(")", 1)[1].split()[1] == str(pid)
    ]


def read(path):
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def wait_for_step(workdir, step):
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if f'"step": {step},' in read(workdir / "metrics.jsonl"):
            return
        time.sleep(0.01)
    raise AssertionError(f"step {step} was not reached")


def wait_for_line(run, words):
    for line in run.stdout:
        if words in line:
            return
    raise AssertionError(f"the run never said {words!r}: {run.stderr.read()}")


@pytest.mark.slow
def test_a_signal_while_the_test_set_is_watched_leaves_nothing_out(finished, small, start, tmp_path):
    run = start(*small, "--workdir", tmp_path, module="experiments.imagenet")
    wait_for_step(tmp_path, 3)  # its record comes just before the test set is evaluated
    run.send_signal(signal.SIGTERM)
    _, error = run.communicate(timeout=120)
    assert error == (
        f"error: stopped at step 3, checkpoint written; --resume --workdir {tmp_path} continues\n"
    )
    assert run.returncode == 128 + signal.SIGTERM
    main(["--resume", "--workers", "0", "--workdir", str(tmp_path)])
    assert_same(tmp_path, finished)
    tests = [
        [(r["step"], r["which"], r["loss"]) for r in records(w) if r["kind"] == "test"]
        for w in (tmp_path, finished)
    ]
    assert tests[0] == tests[1]


@pytest.mark.parametrize("moment", ["before training", "after training"])
@pytest.mark.slow
def test_a_signal_where_nothing_is_trained_ends_a_run_at_once(small, start, tmp_path, moment):
    run = start(*small, "--max-steps", "1", "--workdir", tmp_path, module="experiments.imagenet")
    if moment == "after training":
        wait_for_line(run, "testing the last checkpoint")
    deadline = time.monotonic() + 120
    while not (tmp_path / ".lock").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    run.send_signal(signal.SIGTERM)
    _, error = run.communicate(timeout=60)
    if moment == "before training":
        assert error == "error: ended by SIGTERM\n"
    else:
        assert error.startswith("error: stopped at step 1, checkpoint written; --resume --workdir")
    assert run.returncode == 128 + signal.SIGTERM


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_a_signal_to_all_of_a_job_stops_it_cleanly_and_it_goes_on(finished, small, tmp_path, number, request):
    run = subprocess.Popen(
        [sys.executable, "-m", "experiments.imagenet", *small, "--epochs", "400", "--workdir", tmp_path],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    request.addfinalizer(run.kill)
    assert wait_until(lambda: read(tmp_path / "metrics.jsonl").count('"train"') > 3, 300)
    workers = children(run.pid)
    assert len(workers) >= 2
    os.killpg(run.pid, number)
    _, error = run.communicate(timeout=120)
    assert run.returncode == 128 + number
    assert error.startswith("error: stopped at step ")
    assert error.count("\n") == 1
    assert wait_until(lambda: not any(map(alive, workers)), 60)
    stopped = max(int(folder.name) for folder in (tmp_path / "checkpoints").iterdir())
    main(["--resume", "--max-steps", str(stopped + 1), "--workers", "0", "--workdir", str(tmp_path)])
    assert records(tmp_path)[-1]["step"] == stopped + 1


def test_a_validation_set_of_its_own_chooses_the_checkpoint(image_folder, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(image_folder, data)
    shutil.copytree(image_folder / "val", data / "test")
    (data / "test" / "flower" / "000.jpg").unlink()
    flags = ["--workers", "0", "--max-steps", "3", "--workdir", str(tmp_path / "run")]
    main([*SMALL, "--data-dir", str(data), *flags])
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["val_accuracy"] is not None
    images = {r["kind"]: r["images"] for r in records(tmp_path / "run")}
    assert (images["val"], images["test"]) == (18, 17)


def test_images_can_be_held_out_of_the_training_set(small, tmp_path):
    flags = ["--val-size", "10", "--workers", "0", "--max-steps", "3", "--workdir", str(tmp_path)]
    main([*small, *flags])
    images = {r["kind"]: r["images"] for r in records(tmp_path)}
    assert (images["val"], images["test"]) == (10, 18)


def test_a_run_is_evaluated_on_a_folder(finished, image_folder, tmp_path):
    flags = ["--dataset", "folder", "--data-dir", str(image_folder), "--workers", "0", "--out", str(tmp_path)]
    evaluate(["--weights", str(finished), *flags])
    found = json.loads((tmp_path / "evaluation.json").read_text())
    summary = json.loads((finished / "summary.json").read_text())
    assert found["images"] == 18
    assert found["accuracy"] == summary["test_accuracy"]
    assert found["loss"] == pytest.approx(summary["test_loss"], rel=1e-4)
    assert set(found["per_class_accuracy"]) == {"china", "flower"}


@pytest.mark.parametrize(
    ("flags", "error", "message"),
    [
        ([], ConfigError, "--dataset folder needs --data-dir FOLDER, which holds train/CLASS"),
        (["--data-dir", "nowhere"], DataError, "nowhere is no folder"),
        (["--data-dir", "{empty}"], DataError, "has no train folder"),
        (
            ["--data-dir", "{image_folder}", "--image-size", "0"],
            ConfigError,
            "--image-size must be more than 0",
        ),
        (["--data-dir", "{image_folder}", "--workers", "-1"], ConfigError, "--workers must be 0 or more"),
        (
            ["--data-dir", "{image_folder}", "--archive", "x"],
            ConfigError,
            "--archive and --mirror are not for",
        ),
        (
            ["--data-dir", "{image_folder}", "--val-size", "60"],
            ConfigError,
            "--val-size: .*hold out at most",
        ),
        (["--data-dir", "{image_folder}"], ConfigError, "--batch-size: a batch holds 1 to 60"),
        (["--data-dir", "{image_folder}", "--recipe", "paper"], ConfigError, "--recipe paper is for"),
        (["--dataset", "imagenet2012", "--data-dir", "{empty}"], DataError, "imagenet2012 is not under"),
    ],
)
def test_what_cannot_be_is_one_line_with_a_way_out(image_folder, tmp_path, flags, error, message):
    empty = tmp_path / "empty"
    empty.mkdir()
    flags = [flag.format(image_folder=image_folder, empty=empty) for flag in flags]
    with pytest.raises(error, match=message) as caught:
        main([*flags, "--workdir", str(tmp_path / "run")])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["resnet50", "resnext50_32x4d"])
def test_imagenets_networks_train_on_cifars_images_enlarged(cifar10, arch, tmp_path):
    for part, split, count in (("train", cifar10.train, 48), ("val", cifar10.test, 8)):
        for i in range(count):
            folder = tmp_path / part / cifar10.class_names[split.labels[i]]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(split.images[i]).resize((80, 80), 3).save(folder / f"{i}.jpg")
    flags = ["--image-size", "64", "--batch-size", "8", "--max-steps", "3", "--log-every", "1"]
    main(["--arch", arch, "--data-dir", str(tmp_path), *flags, "--workdir", str(tmp_path / "run")])
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["steps"] == 3
    assert all(np.isfinite(r["loss"]) for r in records(tmp_path / "run"))
