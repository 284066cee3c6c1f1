import json
import os
import subprocess
import sys

import numpy as np
import pytest

from experiments.cifar10 import main
from experiments.program.errors import ConfigError, ExperimentError
from jax_resnet import data
from tests.helpers import run_folders

# What another process does to see the run's own logits again: library calls only.
READ_BACK = """
import sys
import jax, numpy as np
from jax_resnet import checkpoint, data
from jax_resnet.data.augment import normalize
from jax_resnet.train import make_eval_step

run, data_dir, out = sys.argv[1:]
assert "experiments" not in sys.modules
result = {}
for which in ("last", "best"):
    model, variables, config = checkpoint.restore(run, which)
    mean, std = config["data"]["mean"], config["data"]["std"]
    step = jax.jit(make_eval_step(model, lambda images: normalize(images, mean, std)))
    test = data.load(config["data"]["name"], data_dir=data_dir).test
    size = min(500, len(test))
    result[which] = np.concatenate(
        [np.asarray(step(variables, batch)[0])[batch["mask"]] for batch in test.eval_batches(size)]
    )
np.savez(out, **result)
"""


def read_metrics(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_everything_it_promises(finished):
    assert {path.name for path in finished.iterdir()} == {
        "config.json",
        "metrics.jsonl",
        "summary.json",
        "predictions.npz",
        "curves.png",
        "checkpoints",
        "tensorboard",
    }
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["arch"] == "resnet8"
    assert summary["parameters"] == 75_290
    assert summary["steps"] == summary["epochs"] * ((1442 - 100) // 32)
    assert {
        *("val_accuracy", "test_accuracy", "test_accuracy_best", "test_loss", "images_per_second"),
        *("seconds", "seed", "device", "versions", "recipe"),
    } <= set(summary)
    assert summary["test_accuracy"] > 0.4
    assert (finished / "curves.png").read_bytes().startswith(b"\x89PNG")
    for run in ("train", "validation", "test"):
        assert list((finished / "tensorboard" / run).glob("events.*"))
    config = json.loads((finished / "config.json").read_text())
    assert {"config", "flags", "versions", "commit", "device", "model", "data"} <= set(config)
    assert config["convolution"].startswith("convolution: ")
    assert config["memory"].startswith("malloc ")
    assert 100 < summary["peak_memory_mib"] < 1e5


def test_metrics_are_lines_of_their_kind(finished):
    records = read_metrics(finished)
    train, val, test = (
        [record for record in records if record["kind"] == kind] for kind in ("train", "val", "test")
    )
    assert len(train) + len(val) + len(test) == len(records)
    assert [record["epoch"] for record in val] == [1, 2]
    assert all(record["images"] == 100 for record in val)
    assert 1 <= len(test) <= 2
    assert sum(record["images"] for record in train) == 32 * train[-1]["step"]
    for record in train:
        assert {"step", "epoch", "loss", "accuracy", "learning_rate", "images_per_second"} <= set(record)
    assert train[-1]["loss"] < train[0]["loss"]
    total = train[-1]["step"]
    for record in train:
        expected = 0.1 * (1 + np.cos(np.pi * (record["step"] - 1) / total)) / 2
        assert record["learning_rate"] == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_the_summary_is_what_the_predictions_say(finished, data_dir):
    summary = json.loads((finished / "summary.json").read_text())
    with np.load(finished / "predictions.npz") as predictions:
        labels, logits = predictions["labels"], predictions["logits_last"].astype(np.float64)
    np.testing.assert_array_equal(labels, data.load("digits", data_dir=data_dir).test.labels)
    assert summary["test_accuracy"] == np.mean(logits.argmax(1) == labels)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert summary["test_loss"] == pytest.approx(-log_p[np.arange(len(labels)), labels].mean(), rel=1e-4)


def test_a_new_process_restores_the_runs_logits_bit_for_bit(finished, data_dir, tmp_path):
    out = tmp_path / "logits.npz"
    subprocess.run([sys.executable, "-c", READ_BACK, finished, data_dir, out], check=True)
    with np.load(out) as found, np.load(finished / "predictions.npz") as written:
        for which in ("last", "best"):
            np.testing.assert_array_equal(found[which], written[f"logits_{which}"])


def test_a_folder_with_a_run_is_refused_and_left_alone(finished, small):
    before = (finished / "metrics.jsonl").read_bytes()
    with pytest.raises(ExperimentError, match="holds a run already: --resume it, --overwrite it"):
        main([*small, "--workdir", str(finished)])
    assert (finished / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "flags", [["--rates", "haed=2"], ["--batch-size", "100000"], ["--init-from", "runs/none"]]
)
def test_overwrite_deletes_nothing_before_all_is_checked(small, tmp_path, flags):
    (tmp_path / "checkpoints").mkdir()
    for name in ("config.json", "summary.json", "evaluation.json", "checkpoints/5"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ConfigError):
        main([*small, *flags, "--overwrite", "--workdir", str(tmp_path)])
    for name in ("config.json", "summary.json", "evaluation.json", "checkpoints/5"):
        assert (tmp_path / name).read_text() == "{}"


def test_overwrite_deletes_the_run_and_nothing_else(small, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "metrics.jsonl").write_text(json.dumps(run_folders.record("train", 1)) + "\n")
    main([*small, "--max-steps", "3", "--log-every", "1", "--overwrite", "--workdir", str(tmp_path)])
    assert (tmp_path / "notes.txt").read_text() == "mine"
    train = [record for record in read_metrics(tmp_path) if record["kind"] == "train"]
    assert [record["step"] for record in train] == [1, 2, 3]
    assert all("loss" in record for record in train)


def test_without_a_validation_set_only_the_last_is_reported(small, tmp_path):
    main([*small, "--val-size", "0", "--max-steps", "3", "--workdir", str(tmp_path)])
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["val_accuracy"] is None
    assert summary["test_accuracy_best"] is None
    assert [record["kind"] for record in read_metrics(tmp_path)] == ["train", "test"]


@pytest.mark.slow
def test_bf16_keeps_float32_parameters(small, tmp_path):
    from jax_resnet import checkpoint

    main([*small, "--dtype", "bf16", "--max-steps", "2", "--workdir", str(tmp_path)])
    restored = checkpoint.restore(tmp_path)
    assert restored.model.dtype == "bfloat16"
    assert restored.variables["params"]["head"]["kernel"].dtype == "float32"


def test_a_training_that_blows_up_stops_and_says_where(small, tmp_path):
    with pytest.raises(ExperimentError, match=r"not finite at step \d+, epoch 0\.\d+, learning rate 1e\+30"):
        main([*small, "--learning-rate", "1e30", "--schedule", "step", "--workdir", str(tmp_path)])
    assert not (tmp_path / "summary.json").exists()


@pytest.mark.parametrize(
    ("name", "value"), [("--batch-size", [64]), ("--resume", [True]), ("training data", ["other images"])]
)
def test_a_process_with_other_data_or_flags_says_so(small, tmp_path, monkeypatch, name, value):
    from experiments.training import checks

    def as_if_second(compute, errors=()):
        first = compute()
        return {**first, name: value} if isinstance(first, dict) and name in first else first

    monkeypatch.setattr(checks, "broadcast_from_primary", as_if_second)
    with pytest.raises(ExperimentError, match=f"another {name} than process 0: start all with the same"):
        main([*small, "--workdir", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_without_a_device_there_is_one_line(small, tmp_path):
    command = [sys.executable, "-m", "experiments.cifar10", *small, "--workdir", str(tmp_path / "run")]
    environment = {**os.environ, "JAX_PLATFORMS": "none_of_this_name"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("error: JAX finds no device to compute on: ")
    assert result.stderr.count("\n") == 1
