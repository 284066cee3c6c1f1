import json
import shutil
import signal
import time

import jax
import numpy as np
import pytest

from experiments.cifar10 import main
from experiments.program.errors import ConfigError, ExperimentError
from experiments.training.build import build_experiment
from jax_resnet import checkpoint

VARY = ("seconds", "images_per_second")


def metrics(workdir, *kinds):
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in record.items() if name not in VARY}
        for record in records
        if record["kind"] in kinds
    ]


def assert_same_weights(one, other):
    a, b = (checkpoint.restore(run, "last").variables for run in (one, other))
    jax.tree.map(np.testing.assert_array_equal, a, b)


def wait_for_step(workdir, step, seconds=300):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (workdir / "metrics.jsonl").exists():
            lines = (workdir / "metrics.jsonl").read_text().splitlines()
            if lines and json.loads(lines[-1])["step"] >= step:
                return
        time.sleep(0.1)
    raise AssertionError(f"step {step} was not reached in {seconds} s")


def test_a_resumed_run_goes_on_as_if_it_had_never_stopped(finished, small, tmp_path):
    main([*small, "--max-steps", "30", "--workdir", str(tmp_path)])
    stopped = json.loads((tmp_path / "summary.json").read_text())
    assert stopped["steps"] == 30
    main(["--resume", "--workdir", str(tmp_path)])  # the flags come from the run
    assert metrics(tmp_path, "train")[6:] == metrics(finished, "train")[6:]
    assert metrics(tmp_path, "val")[-1] == metrics(finished, "val")[-1]
    assert metrics(tmp_path, "test") == metrics(finished, "test")
    assert_same_weights(tmp_path, finished)


@pytest.mark.slow
def test_averages_and_augmentations_go_on_as_if_the_run_had_never_stopped(small, tmp_path):
    every = [
        *("--ema", "0.9", "--randaugment", "1", "--cutout", "8", "--mixup", "0.2", "--cutmix", "1"),
        *("--optimizer", "adamw", "--learning-rate", "0.001", "--warmup-error", "0.8", "--log-every", "1"),
    ]
    main([*small, *every, "--max-steps", "6", "--workdir", str(tmp_path / "whole")])
    main([*small, *every, "--max-steps", "3", "--workdir", str(tmp_path / "parts")])
    main(["--resume", "--max-steps", "6", "--workdir", str(tmp_path / "parts")])
    parts, whole = (metrics(tmp_path / name, "train", "test") for name in ("parts", "whole"))
    assert [record for record in parts if record.get("which") != "best"] == whole
    assert_same_weights(tmp_path / "parts", tmp_path / "whole")
    warm = [record["learning_rate"] for record in whole if record["kind"] == "train"]
    assert warm == pytest.approx([1e-4] * 6, rel=0.05)  # the error stays above 80%, the schedule is a cosine


@pytest.mark.slow
def test_steps_in_one_dispatch_leave_the_records_of_steps_one_by_one(small, tmp_path, monkeypatch):
    # As on an accelerator; here on CPU, where the program itself would take one at a time.
    monkeypatch.setattr(
        "experiments.training.run.build_experiment",
        lambda config, dataset, **more: build_experiment(
            config, dataset, steps_per_dispatch=config.parallel.steps_per_dispatch, **more
        ),
    )
    gentle = [*small, "--log-every", "3", "--learning-rate", "0.0001"]  # so that rounding does not grow
    main([*gentle, "--max-steps", "45", "--workdir", str(tmp_path / "one")])
    several = [*gentle, "--steps-per-dispatch", "4", "--workdir", str(tmp_path / "four")]
    main([*several, "--max-steps", "30"])  # neither this nor an epoch of 41 steps is a multiple of four
    main(["--resume", "--max-steps", "45", "--workdir", str(tmp_path / "four")])
    four, one = (metrics(tmp_path / name, "train") for name in ("four", "one"))
    for name in ("step", "images", "loss", "grad_norm", "learning_rate"):
        values = ([record[name] for record in records] for records in (four, one))
        np.testing.assert_allclose(*values, rtol=1e-3)


@pytest.mark.slow
def test_the_test_set_is_watched_and_kept_so_when_resumed(small, tmp_path, capsys):
    watched = [*small, "--test-every", "1", "--workdir", str(tmp_path)]
    main([*watched, "--max-steps", "41"])
    assert "[1] Test Loss: " in capsys.readouterr().out
    main(["--resume", "--max-steps", "43", "--workdir", str(tmp_path)])
    tests = metrics(tmp_path, "test")
    assert [(r["which"], r["step"]) for r in tests if r["which"] != "best"] == [("watched", 41), ("last", 43)]
    assert len(metrics(tmp_path, "val")) == 2


@pytest.mark.slow
def test_max_steps_below_where_the_run_is_tests_it_again(small, tmp_path):
    main([*small, "--max-steps", "4", "--workdir", str(tmp_path)])
    main(["--resume", "--max-steps", "2", "--workdir", str(tmp_path)])
    assert json.loads((tmp_path / "summary.json").read_text())["steps"] == 4


def test_a_resumed_run_cannot_change_its_settings(finished, small):
    with pytest.raises(ConfigError, match="was started with --batch-size 32, not 16"):
        main(["--resume", "--workdir", str(finished), "--batch-size", "16"])
    with pytest.raises(ConfigError, match="--arch resnet8, not resnet14"):
        main(["--resume", "--workdir", str(finished), "--arch", "resnet14"])


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_stops_after_the_step_and_the_run_goes_on_from_there(
    finished, small, start, tmp_path, number
):
    run = start(*small, "--workdir", tmp_path)
    wait_for_step(tmp_path, 5)
    run.send_signal(number)
    _, error = run.communicate(timeout=120)
    assert run.returncode == 128 + number
    assert error.startswith("error: stopped at step ")
    assert error.count("\n") == 1
    main(["--resume", "--workdir", str(tmp_path)])
    assert_same_weights(tmp_path, finished)


def test_a_killed_run_goes_on_from_its_last_checkpoint(finished, small, start, tmp_path):
    run = start(*small, "--workdir", tmp_path)
    wait_for_step(tmp_path, 45)  # past the first epoch's checkpoint, at step 41
    run.kill()
    run.communicate()
    main(["--resume", "--workdir", str(tmp_path)])
    assert metrics(tmp_path, "train", "val", "test")[-1] == metrics(finished, "train", "val", "test")[-1]
    assert_same_weights(tmp_path, finished)


def test_a_damaged_newest_checkpoint_is_passed_over(finished, small, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    newest = max((run / "checkpoints").iterdir(), key=lambda folder: int(folder.name))
    for file in (newest / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    main(["--resume", "--workdir", str(run)])
    said = capsys.readouterr().out
    assert f"checkpoint {newest.name} is passed over" in said
    assert "continuing from step 41" in said
    assert_same_weights(run, finished)


@pytest.mark.slow
def test_a_run_that_overwrote_another_can_be_resumed(small, tmp_path):
    main([*small, "--max-steps", "2", "--overwrite", "--workdir", str(tmp_path)])
    main(["--resume", "--max-steps", "3", "--workdir", str(tmp_path)])
    assert json.loads((tmp_path / "summary.json").read_text())["steps"] == 3


def test_a_resume_where_no_run_is_starts_nothing(small, tmp_path):
    with pytest.raises(ExperimentError, match=r"no run in .*new to resume"):
        main([*small, "--max-steps", "2", "--resume", "--workdir", str(tmp_path / "new")])
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "[1]",
        '{"config": []}',
        '{"config": {"optim": []}}',
        '{"config": {"optim": {"batch_size": -1}}}',
        '{"config": 1',
    ],
)
def test_settings_lost_from_config_json_come_from_the_checkpoints(finished, tmp_path, content):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    if content is None:
        (run / "config.json").unlink()
    else:
        (run / "config.json").write_text(content)
    main(["--resume", "--workdir", str(run)])
    before, after = (json.loads((folder / "config.json").read_text())["config"] for folder in (finished, run))
    for group in ("model", "data", "optim"):
        assert after[group] == before[group]


@pytest.mark.slow
def test_a_lost_best_checkpoint_is_named_at_once_and_the_last_is_reported(small, tmp_path, capsys):
    main([*small, "--max-steps", "82", "--workdir", str(tmp_path)])
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for record in records:  # as if the first validation had been the best
        if record["kind"] == "val":
            record["accuracy"] = 1.0 if record["step"] == 41 else 0.5
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    shutil.rmtree(tmp_path / "checkpoints" / "41")
    capsys.readouterr()
    main(["--resume", "--workdir", str(tmp_path)])
    said = capsys.readouterr().out
    assert "the checkpoint of step 41, best on validation so far, is lost" in said
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["best_step"] == 41
    assert summary["best_checkpoint_lost"]
    assert summary["test_accuracy_best"] is None
    assert summary["test_accuracy"] > 0.5


@pytest.mark.slow
def test_alternating_flips_and_reflected_borders_go_on_as_if_never_stopped(small, tmp_path):
    flags = [
        *small,
        "--alternate-flips",
        "--padding",
        "reflect",
        "--norm-momentum",
        "0.8",
        "--log-every",
        "1",
    ]
    main([*flags, "--max-steps", "44", "--workdir", str(tmp_path / "whole")])
    main([*flags, "--max-steps", "39", "--workdir", str(tmp_path / "parts")])
    main(["--resume", "--max-steps", "44", "--workdir", str(tmp_path / "parts")])
    assert metrics(tmp_path / "parts", "train") == metrics(tmp_path / "whole", "train")
    assert_same_weights(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.slow
def test_small_images_grow_at_the_same_step_as_if_never_stopped(small_by_steps, tmp_path):
    flags = [*small_by_steps, "--small-size", "16", "--small-part", "0.5", "--steps", "8", "--log-every", "1"]
    main([*flags, "--workdir", str(tmp_path / "whole")])
    for stop in ("3", "4", "6"):  # before, at and after the step
        main([*flags, "--max-steps", stop, "--workdir", str(tmp_path / stop)])
        main(["--resume", "--workdir", str(tmp_path / stop)])
        assert metrics(tmp_path / stop, "train", "val") == metrics(tmp_path / "whole", "train", "val")
        assert_same_weights(tmp_path / stop, tmp_path / "whole")
    main([*flags, "--small-part", "0.7", "--workdir", str(tmp_path / "later")])
    losses = ([r["loss"] for r in metrics(tmp_path / name, "train")] for name in ("later", "whole"))
    same = [a == b for a, b in zip(*losses, strict=True)]
    assert same == [True] * 4 + [False] * 4


@pytest.mark.slow
def test_a_stop_between_validations_leaves_the_validations_of_the_whole_run(finished, small, tmp_path):
    main([*small, "--max-steps", "50", "--workdir", str(tmp_path)])
    stopped = metrics(tmp_path, "val")
    assert [record.get("which") for record in stopped] == [None, "stopped"]
    end = json.loads((tmp_path / "summary.json").read_text())
    assert (end["best_step"], end["val_accuracy"]) == (stopped[0]["step"], stopped[0]["accuracy"])
    main(["--resume", "--workdir", str(tmp_path)])
    assert metrics(tmp_path, "val") == metrics(finished, "val")
    names = ("best_step", "val_accuracy", "test_accuracy", "test_accuracy_best")
    parts, whole = (json.loads((run / "summary.json").read_text()) for run in (tmp_path, finished))
    assert [parts[name] for name in names] == [whole[name] for name in names]


@pytest.mark.slow
def test_two_processes_cannot_share_a_folder(small, start, tmp_path):
    first = start(*small, "--workdir", tmp_path)
    wait_for_step(tmp_path, 5)
    second = start(*small, "--workdir", tmp_path, "--resume")
    _, error = second.communicate(timeout=120)
    first.kill()
    first.communicate()
    assert second.returncode == 1
    assert "another process is running in" in error


def test_a_run_goes_on_when_its_initial_weights_are_gone(small, tmp_path):
    main([*small, "--max-steps", "1", "--workdir", str(tmp_path / "first")])
    flags = [*small, "--init-from", str(tmp_path / "first"), "--workdir", str(tmp_path / "second")]
    main([*flags, "--max-steps", "1"])
    shutil.rmtree(tmp_path / "first")
    main([*flags, "--max-steps", "2", "--resume"])
    assert json.loads((tmp_path / "second" / "summary.json").read_text())["steps"] == 2


def test_a_finished_run_that_is_resumed_keeps_speed_machine_and_command(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    content = json.loads((run / "config.json").read_text())
    content |= {
        "command": "python -m experiments.cifar10 --began-it",
        "flags": ["--began-it"],
        "device": "another",
    }
    (run / "config.json").write_text(json.dumps(content))
    main(["--resume", "--workdir", str(run)])
    after, summaries = (
        json.loads((run / "config.json").read_text()),
        [json.loads((folder / "summary.json").read_text()) for folder in (finished, run)],
    )
    assert [after[name] for name in ("command", "flags", "device")] == [
        content[name] for name in ("command", "flags", "device")
    ]
    assert "resumed" not in after
    assert summaries[1]["device"] == "another"
    assert summaries[1]["images_per_second"] == summaries[0]["images_per_second"] > 0


def test_the_parts_of_a_run_are_recorded_and_what_was_true_of_a_stop_is_gone(small, tmp_path, monkeypatch):
    main([*small, "--max-steps", "2", "--log-every", "1", "--workdir", str(tmp_path)])
    began = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**began, "device": "another"}))
    assert (tmp_path / "predictions.npz").exists()

    def stop(loop, last_step):
        raise KeyboardInterrupt

    monkeypatch.setattr("experiments.training.loop.Loop.run", stop)
    with pytest.raises(KeyboardInterrupt):
        main(["--resume", "--max-steps", "4", "--workdir", str(tmp_path)])
    for name in ("summary.json", "predictions.npz", "curves.png"):
        assert not (tmp_path / name).exists()
    monkeypatch.undo()
    main(["--resume", "--max-steps", "4", "--workdir", str(tmp_path)])
    content = json.loads((tmp_path / "config.json").read_text())
    assert content["command"] == began["command"]
    assert [part["device"] for part in content["resumed"]] == [began["device"]] * 2
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["device"] == f"another, then {began['device']}"


def test_a_run_that_was_killed_at_once_can_be_resumed(small, tmp_path, monkeypatch):
    def killed(run):
        raise KeyboardInterrupt

    monkeypatch.setattr("experiments.training.run.checkpoint.Checkpointer", killed)
    flags = [*small, "--seeds", "2", "--max-steps", "1", "--workdir", str(tmp_path)]
    with pytest.raises(KeyboardInterrupt):
        main(flags)
    assert [path.name for path in (tmp_path / "seed0").iterdir() if not path.name.startswith(".")] == [
        "config.json"
    ]
    monkeypatch.undo()
    main(flags)
    for seed in (0, 1):
        assert json.loads((tmp_path / f"seed{seed}" / "summary.json").read_text())["steps"] == 1


def test_the_best_checkpoint_outlives_the_records(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    for name in ("metrics.jsonl", "summary.json"):
        (run / name).unlink()
    main(["--resume", "--workdir", str(run)])
    before, after = (json.loads((folder / "summary.json").read_text()) for folder in (finished, run))
    for name in ("best_step", "val_accuracy", "test_accuracy_best"):
        assert after[name] == before[name]


def test_settings_of_another_version_are_refused_not_dropped(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    content = json.loads((run / "config.json").read_text())
    content["config"]["optim"]["lookahead"] = 5
    (run / "config.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="settings that this version does not know: lookahead"):
        main(["--resume", "--workdir", str(run)])
    assert json.loads((run / "config.json").read_text()) == content


@pytest.mark.parametrize(
    ("name", "value"), [("learning_rate", "0.1"), ("epochs", None), ("schedule", "square")]
)
def test_values_that_no_setting_has_are_not_taken_from_config_json(finished, tmp_path, name, value):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    content = json.loads((run / "config.json").read_text())
    right, content["config"]["optim"][name] = content["config"]["optim"][name], value
    (run / "config.json").write_text(json.dumps(content))
    main(["--resume", "--workdir", str(run)])  # from the checkpoints
    assert json.loads((run / "config.json").read_text())["config"]["optim"][name] == right


def test_a_run_that_was_moved_to_the_default_folder_is_resumed_there(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "digits-resnet8-standard-seed0"
    shutil.copytree(finished, run)
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    main(["--resume", "--dataset", "digits", "--arch", "resnet8"])
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before
    config = json.loads((run / "config.json").read_text())["config"]
    assert config["run"]["workdir"] == "runs/digits-resnet8-standard-seed0"


def test_seeds_in_default_folders_are_resumed_there(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main([*small, "--seeds", "2", "--max-steps", "1"])
    main([*small, "--seeds", "2", "--max-steps", "2", "--resume"])
    steps = [json.loads(path.read_text())["steps"] for path in tmp_path.glob("runs/*/summary.json")]
    assert steps == [2, 2]


def test_a_folder_of_seeds_says_that_it_is_one(finished, small, tmp_path):
    shutil.copytree(finished, tmp_path / "seed0")
    with pytest.raises(ExperimentError, match="holds the runs seed0: repeat their command, or name one as"):
        main([*small, "--resume", "--workdir", str(tmp_path)])


def test_overwrite_leaves_what_is_no_run(small, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "mine.pt").write_text("weights")
    (tmp_path / "config.json").write_text('{"model": "mine"}')
    with pytest.raises(ConfigError, match="which is not of a run of this program: name another --workdir"):
        main([*small, "--max-steps", "1", "--overwrite", "--workdir", str(tmp_path)])
    assert (tmp_path / "checkpoints" / "mine.pt").exists()


def test_overwrite_empties_checkpoints_that_lie_on_another_disk(finished, small, tmp_path):
    run, disk = tmp_path / "run", tmp_path / "disk"
    shutil.copytree(finished, run)
    (run / "checkpoints").rename(disk)
    for name in ("notes", "2024-photos"):
        (disk / name).mkdir()
    (run / "checkpoints").symlink_to(disk)
    main([*small, "--max-steps", "1", "--overwrite", "--workdir", str(run)])
    assert (run / "checkpoints").is_symlink()
    assert {path.name for path in disk.iterdir() if not path.name.startswith(".")} == {
        "1",
        "notes",
        "2024-photos",
    }


def test_an_overwrite_that_was_interrupted_can_be_repeated(finished, small, tmp_path, monkeypatch):
    from experiments.runs import folder

    def interrupted(target):
        if target.name == "config.json":
            raise KeyboardInterrupt
        remove(target)

    remove = folder._remove
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    flags = [*small, "--max-steps", "1", "--overwrite", "--workdir", str(run)]
    monkeypatch.setattr(folder, "_remove", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main(flags)
    assert {path.name for path in run.iterdir() if not path.name.startswith(".")} == {"config.json"}
    monkeypatch.undo()
    main(flags)
    assert (run / "summary.json").exists()


def test_records_that_cannot_be_read_are_not_replaced(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").mkdir()
    with pytest.raises(ExperimentError, match=r"metrics.jsonl cannot be read: not a regular file; make it"):
        main(["--resume", "--workdir", str(run)])


@pytest.mark.slow
@pytest.mark.parametrize(("test_every", "eval_every"), [(1, 2), (2, 1)])
def test_the_test_set_is_watched_whatever_is_validated(small, tmp_path, test_every, eval_every):
    flags = ("--test-every", str(test_every), "--eval-every", str(eval_every), "--workdir", str(tmp_path))
    main([*small, *flags])
    watched = [record["step"] for record in metrics(tmp_path, "test") if record["which"] == "watched"]
    assert watched == [41, 82][test_every - 1 :]
    assert [record["step"] for record in metrics(tmp_path, "val")] == [41, 82][eval_every - 1 :]
