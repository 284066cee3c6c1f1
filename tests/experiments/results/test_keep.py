"""Keeping runs: what is copied, and what is refused."""

import errno
import json
import os

import numpy as np
import pytest

from experiments.program.errors import ConfigError
from experiments.report.runs import read_run
from experiments.results.__main__ import main
from tests.helpers.run_folders import record, write_run

LOGITS = np.eye(10, dtype=np.float32)[[0, 1, 2, 2]] * 4


def keep(*args):
    main(["keep", *map(str, args)])


def test_a_kept_run_reads_like_the_run(tmp_path, capsys):
    run = write_run(tmp_path / "runs" / "mine", logits=LOGITS, labels=np.array([0, 1, 2, 3]))
    keep(run, "--out", tmp_path / "kept")
    kept, original = read_run(tmp_path / "kept" / "mine"), read_run(run)
    assert kept.notes == original.notes == ()
    assert kept.settings == original.settings
    assert kept.summary == original.summary
    assert kept.records == original.records
    assert np.array_equal(kept.predictions.logits.argmax(1), original.predictions.logits.argmax(1))
    assert "logits rounded to" in json.loads((kept.folder / "config.json").read_text())["kept"]["predictions"]
    assert "mine kept as" in capsys.readouterr().out


def test_a_real_run_is_kept(finished, tmp_path):
    keep(finished, "--out", tmp_path)
    (kept,) = tmp_path.iterdir()
    assert {path.name for path in kept.iterdir()} == {
        *("config.json", "metrics.jsonl", "summary.json", "predictions.npz")
    }
    assert read_run(kept).notes == ()
    assert str(finished) not in (kept / "config.json").read_text()


def test_places_of_the_machine_are_left_out(tmp_path):
    run = write_run(
        tmp_path / "mine",
        settings={
            "data": {"data_dir": "/home/me/data", "mirror": ["https://inside.example/x"]},
            "run": {"workdir": "/home/me/mine", "compilation_cache": "/home/me/cache"},
            "model": {"init_from": "/home/me/weights.safetensors"},
        },
    )
    about = json.loads((run / "config.json").read_text())
    about["flags"] = [
        "--workdir=/home/me/mine",
        "--mirror",
        "/home/a",
        "/home/b",
        "--data-dir",
        "/home/c",
        "--compilation-cache",
        "/home/d",
        "--ema",
        "0.9",
    ]
    about["resumed"] = [
        {"command": "python -m experiments.cifar10 --resume --workdir /home/me/mine", "flags": []}
    ]
    about["command"] = "python -m experiments.cifar10 --workdir '/home/me/my runs' --init-from /home/me/w.pth"
    (run / "config.json").write_text(json.dumps(about))
    keep(run, "--out", tmp_path / "kept")
    text = (tmp_path / "kept" / "mine" / "config.json").read_text()
    assert "home" not in text
    assert "inside.example" not in text
    kept = json.loads(text)
    assert kept["flags"] == ["--ema", "0.9"]
    assert kept["command"] == "python -m experiments.cifar10 --init-from w.pth"
    assert kept["config"]["model"]["init_from"] == "weights.safetensors"
    assert kept["resumed"] == [{"command": "python -m experiments.cifar10 --resume", "flags": []}]


def test_an_evaluation_in_the_folder_is_kept_without_its_path(tmp_path):
    run = write_run(tmp_path / "mine")
    evaluation = {"weights": "/home/me/mine", "accuracy": 0.95, "tta": "flip"}
    settings = json.loads((run / "config.json").read_text())["config"]
    (run / "evaluation.json").write_text(json.dumps({**evaluation, "settings": settings}))
    keep(run, "--out", tmp_path / "kept")
    kept = json.loads((tmp_path / "kept" / "mine" / "evaluation.json").read_text())
    assert kept == {**evaluation, "weights": "mine"}
    (run / "evaluation.json").write_text(json.dumps({**evaluation, "settings": settings, "which": "last"}))
    with pytest.raises(ConfigError, match=r"evaluation\.json is of the last checkpoint, not of the one"):
        keep(run, "--out", tmp_path / "kept")
    # A checkpoint from before a stop has the settings of then.
    earlier = {**settings, "run": {**settings.get("run", {}), "max_steps": 10}}
    (run / "evaluation.json").write_text(json.dumps({**evaluation, "settings": earlier}))
    keep(run, "--out", tmp_path / "kept")
    (run / "evaluation.json").write_text("{")
    with pytest.raises(ConfigError, match=r"evaluation\.json: not JSON"):
        keep(run, "--out", tmp_path / "kept")


@pytest.mark.parametrize("other", [{"seed": 1}, {"settings": {"optim": {"ema": 0.9}}}, None])
def test_an_evaluation_of_another_run_is_refused(tmp_path, other):
    run = write_run(tmp_path / "mine")
    evaluation = {"weights": "runs/other", "accuracy": 0.95, "tta": "flip"}
    if other is not None:
        about = json.loads((write_run(tmp_path / "other", **other) / "config.json").read_text())
        evaluation["settings"] = about["config"]
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    with pytest.raises(ConfigError, match=r"evaluation\.json is not of this run; remove it"):
        keep(run, "--out", tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_the_name_of_a_folder_of_images_is_kept_as_results_depend_on_it(tmp_path):
    data = {"dataset": "folder", "data_dir": "/home/me/flowers"}
    keep(write_run(tmp_path / "mine", settings={"data": data}), "--out", tmp_path / "kept")
    assert read_run(tmp_path / "kept" / "mine").settings["data_dir"] == "flowers"


def test_names_come_from_folders_and_the_prefix(tmp_path):
    for seed in range(2):
        write_run(tmp_path / "runs" / "fast" / f"seed{seed}", seed=seed)
    write_run(tmp_path / "runs" / "plain20-seed0", arch="plain20")
    keep(tmp_path / "runs", "--out", tmp_path / "kept", "--prefix", "gpu-")
    names = sorted(path.name for path in (tmp_path / "kept").iterdir())
    assert names == ["gpu-fast-seed0", "gpu-fast-seed1", "gpu-plain20-seed0"]


def test_long_metrics_are_thinned_and_the_run_says_so(tmp_path):
    run = write_run(tmp_path / "mine")
    lines = [record("train", step) for step in range(1, 3000)] + [record("val", 3000)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    keep(run, "--out", tmp_path / "kept")
    kept = tmp_path / "kept" / "mine"
    assert (kept / "metrics.jsonl").stat().st_size <= 201 * 1024
    assert json.loads((kept / "config.json").read_text())["kept"]["metrics"].startswith("1 of 2 training")


def unfinished(run):
    (run / "summary.json").unlink()


def stopped(run):
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "steps": 10}))


def without_settings(run):
    (run / "config.json").write_text("{}")


def damaged_metrics(run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write("{]\n")


def damaged_predictions(run):
    (run / "predictions.npz").write_bytes(b"no archive")


def without_best(run):
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "best_checkpoint_lost": "it is damaged"}))


def impossible_accuracy(run):
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "test_accuracy": 93.1}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (unfinished, "not finished: no summary.json"),
        (stopped, "stopped at step 10 of the 20"),
        (without_settings, "no settings"),
        (damaged_metrics, "line 8 is not JSON"),
        (damaged_predictions, "no readable predictions.npz"),
        (without_best, "its best checkpoint is lost"),
        (impossible_accuracy, "test_accuracy is not a number from 0 to 1"),
    ],
)
def test_unfinished_and_damaged_runs_are_refused_before_anything_is_written(tmp_path, damage, message):
    write_run(tmp_path / "runs" / "fine")
    damage(write_run(tmp_path / "runs" / "other"))
    with pytest.raises(ConfigError, match=message):
        keep(tmp_path / "runs", "--out", tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_another_run_is_replaced_only_when_asked(tmp_path, capsys):
    keep(write_run(tmp_path / "a" / "mine", logits=LOGITS), "--out", tmp_path / "kept")
    keep(tmp_path / "a" / "mine", "--out", tmp_path / "kept")
    assert "is kept already" in capsys.readouterr().out
    other = write_run(tmp_path / "b" / "mine", seed=1)
    before = (tmp_path / "kept" / "mine" / "config.json").read_bytes()
    with pytest.raises(ConfigError, match="holds another run already: --overwrite it"):
        keep(other, "--out", tmp_path / "kept")
    assert (tmp_path / "kept" / "mine" / "config.json").read_bytes() == before
    keep(other, "--out", tmp_path / "kept", "--overwrite")
    assert read_run(tmp_path / "kept" / "mine").setting("seed") == 1
    assert not (tmp_path / "kept" / "mine" / "predictions.npz").exists()  # those of the other run


def test_what_was_kept_is_there_until_the_new_is_written(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    keep(write_run(tmp_path / "a" / "mine", logits=LOGITS), "--out", tmp_path / "kept")
    before = {path: path.read_bytes() for path in (tmp_path / "kept" / "mine").iterdir()}
    other = write_run(tmp_path / "b" / "mine", seed=1)
    monkeypatch.setattr("experiments.results.keep.write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        keep(other, "--out", tmp_path / "kept", "--overwrite")
    assert {path: path.read_bytes() for path in (tmp_path / "kept" / "mine").iterdir()} == before
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["mine"]


def test_a_command_that_no_shell_could_have_run_is_left_out(tmp_path):
    run = write_run(tmp_path / "mine")
    about = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**about, "command": "train --title it's"}))
    keep(run, "--out", tmp_path / "kept")
    assert json.loads((tmp_path / "kept" / "mine" / "config.json").read_text())["command"] is None


def test_two_runs_of_one_name_are_refused(tmp_path):
    runs = [write_run(tmp_path / place / "mine") for place in "ab"]
    with pytest.raises(ConfigError, match="would both be kept as mine"):
        keep(*runs, "--out", tmp_path / "kept")


def test_wrong_calls_are_one_line():
    for args, message in (
        ([], "takes a job, keep, tables, log"),
        (["tabels"], "did you mean tables"),
        (["keep"], "which runs"),
        (["keep", "x", "--prefix", "../"], "--prefix is the beginning"),
        (["log", "--outt", "x"], "did you mean --out"),
    ):
        with pytest.raises(ConfigError, match=message):
            main(args)


def test_help_lists_the_jobs(capsys):
    main(["--help"])
    said = capsys.readouterr().out
    assert all(job in said for job in ("keep", "tables", "log"))
