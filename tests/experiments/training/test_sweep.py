"""Several runs by one command: over seeds, over networks; stopped and continued."""

import dataclasses
import json
import shutil
import signal
import time

import pytest

from experiments import cifar10, compare, degradation, resnext
from experiments.program.errors import ConfigError
from experiments.settings.resume import saved_config
from experiments.training.compare import read_members
from experiments.training.sweep import finished, per_seed_configs
from jax_resnet import checkpoint

SHORT = ("--max-steps", "2", "--log-every", "1")


def summary(run):
    return json.loads((run / "summary.json").read_text())


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("summary.json")}


@pytest.fixture(scope="module")
def small_members(data_dir):
    return [
        *("--dataset", "digits", "--data-dir", str(data_dir), "--recipe", "quick", "--val-size", "100"),
        *("--members", "resnet8", "plain8", "--batch-size", "32", *SHORT),
    ]


@pytest.fixture(scope="module")
def compared(small_members, tmp_path_factory):
    """A finished comparison. Not to be written to."""
    workdir = tmp_path_factory.mktemp("compared")
    compare.main([*small_members, "--workdir", str(workdir)])
    return workdir


def test_a_comparison_is_a_run_each_and_a_report(compared):
    assert {path.name for path in compared.iterdir()} == {"resnet8-seed0", "plain8-seed0", "report"}
    for arch in ("resnet8", "plain8"):
        run = compared / f"{arch}-seed0"
        assert (summary(run)["arch"], summary(run)["steps"]) == (arch, 2)
        assert checkpoint.restore(run).config["config"]["run"]["workdir"] == str(run)
    text = (compared / "report" / "report.md").read_text()
    assert "resnet8" in text
    assert "plain8" in text


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[1]",
        '{"steps": "2", "total_steps": 2, "test_accuracy": 1}',
        '{"steps": 0, "total_steps": 0, "test_accuracy": 0}',
    ],
)
def test_a_damaged_summary_is_no_finished_run(compared, content, tmp_path):
    shutil.copytree(compared / "plain8-seed0", tmp_path / "seed0")
    config = saved_config(tmp_path / "seed0")
    config = dataclasses.replace(config, run=dataclasses.replace(config.run, workdir=str(tmp_path / "seed0")))
    assert finished(config)["steps"] == 2
    (tmp_path / "seed0" / "summary.json").write_text(content)
    assert finished(config) is None


def test_a_run_of_unknown_settings_is_no_finished_one(compared, tmp_path):
    shutil.copytree(compared / "plain8-seed0", tmp_path / "seed0")
    config = saved_config(tmp_path / "seed0")
    config = dataclasses.replace(config, run=dataclasses.replace(config.run, workdir=str(tmp_path / "seed0")))
    (tmp_path / "seed0" / "config.json").unlink()
    shutil.rmtree(tmp_path / "seed0" / "checkpoints")
    assert finished(config) is None


def test_the_same_command_runs_only_what_is_missing(compared, small_members, tmp_path, capsys):
    shutil.copytree(compared, tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "plain8-seed0")
    before = stamps(tmp_path / "again")
    compare.main([*small_members, "--workdir", str(tmp_path / "again")])
    said = capsys.readouterr().out
    assert said.count("finished before") == 1
    after = stamps(tmp_path / "again")
    assert len(after) == 2
    assert before.items() <= after.items()


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_runs_that_are_compared_compute_in_one_type(small, tmp_path, monkeypatch, dtype):
    other = "f32" if dtype == "bf16" else "bf16"
    monkeypatch.setattr("experiments.training.dtype._choose", lambda: (other, "as on a busy machine"))
    flags = [*small, "--max-steps", "1"]
    cifar10.main([*flags, "--dtype", dtype, "--workdir", str(tmp_path / "seed0")])
    cifar10.main([*flags, "--dtype", "auto", "--seeds", "2", "--workdir", str(tmp_path)])
    assert saved_config(tmp_path / "seed1").model.dtype == dtype


@pytest.mark.slow
def test_a_longer_one_goes_on_from_the_shorter(compared, small_members, tmp_path, capsys):
    shutil.copytree(compared, tmp_path / "longer")
    compare.main([*small_members, "--max-steps", "3", "--workdir", str(tmp_path / "longer")])
    assert capsys.readouterr().out.count("continuing from step 2") == 2
    assert [summary(path.parent)["steps"] for path in stamps(tmp_path / "longer")] == [3, 3]


def test_members_keep_the_settings_they_were_begun_with(compared, small_members):
    with pytest.raises(ConfigError, match="was started with --learning-rate"):
        compare.main([*small_members, "--learning-rate", "0.01", "--workdir", str(compared)])


@pytest.mark.slow
def test_seeds_are_runs_of_their_own_and_continue(small, tmp_path, capsys):
    flags = [*small, *SHORT, "--seeds", "2", "--seed", "3", "--workdir", str(tmp_path)]
    cifar10.main(flags)
    assert {path.name for path in tmp_path.iterdir()} == {"seed3", "seed4"}
    assert [summary(tmp_path / f"seed{seed}")["seed"] for seed in (3, 4)] == [3, 4]
    assert "over 2 seeds" in capsys.readouterr().out
    before = stamps(tmp_path)
    cifar10.main(flags)
    assert capsys.readouterr().out.count("finished before") == 2
    assert stamps(tmp_path) == before
    cifar10.main(["--resume", "--max-steps", "3", "--workdir", str(tmp_path / "seed3")])  # a run like any
    assert summary(tmp_path / "seed3")["steps"] == 3


def test_a_sweep_can_be_resumed_by_name_before_all_its_runs_have_begun(small, tmp_path, capsys):
    flags = [*small, "--max-steps", "1", "--seeds", "1", "--workdir", str(tmp_path / "seed0")]
    cifar10.main(flags)
    cifar10.main(["--max-steps", "2", "--seeds", "2", "--resume", "--workdir", str(tmp_path)])
    assert [summary(tmp_path / f"seed{seed}")["steps"] for seed in (0, 1)] == [2, 2]
    assert "over 2 seeds" in capsys.readouterr().out


@pytest.mark.slow
def test_a_stopped_comparison_says_how_to_go_on(small_members, start, tmp_path):
    flags = [*small_members, "--max-steps", "100000", "--epochs", "9999", "--workdir", tmp_path]
    run = start(*flags, module="experiments.compare")
    metrics = tmp_path / "resnet8-seed0" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text()):
        assert run.poll() is None
        time.sleep(0.1)
    run.send_signal(signal.SIGTERM)
    _, error = run.communicate(timeout=120)
    assert run.returncode == 128 + signal.SIGTERM
    assert "the same command continues" in error
    assert error.count("\n") == 1


def test_the_papers_comparison():
    folder, members = read_members(degradation.DEGRADATION, [])
    assert str(folder) == "runs/degradation-cifar10-paper"
    assert [member.model.arch for member in members] == ["plain20", "plain56", "resnet20", "resnet56"]
    assert {member.optim.steps for member in members} == {64_000}
    assert len({member.optim for member in members}) == 1
    _, short = read_members(degradation.DEGRADATION, ["--epochs", "3"])
    assert {(member.optim.steps, member.optim.epochs) for member in short} == {(None, 3)}
    _, deep = read_members(degradation.DEGRADATION, ["--members", "plain20", "plain110"])
    assert [member.optim.warmup_error for member in deep] == [0.0, 0.8]


def test_resnext_gives_all_networks_the_same_100_epochs():
    folder, members = read_members(resnext.RESNEXT, ["--dataset", "cifar100", "--seeds", "2"])
    assert str(folder) == "runs/resnext-cifar100-tutorial-004"
    assert [m.model.arch for m in members] == ["resnet50", "resnext50_32x4d", "resnet101", "resnext101_32x4d"]
    assert {(m.optim.epochs, m.data.dataset) for m in members} == {(100, "cifar100")}
    names = [config.workdir.name for config in per_seed_configs(members[1], "resnext50_32x4d-")]
    assert names == ["resnext50_32x4d-seed0", "resnext50_32x4d-seed1"]


@pytest.mark.parametrize(
    ("flags", "dataset"),
    [
        (["--stem", "imagenet", "--image-size", "224", "--data-dir", "image_folder"], "folder"),
        (["--dataset", "imagenet2012"], "imagenet2012"),
    ],
)
def test_resnext_takes_large_images_too(flags, dataset):
    _, members = read_members(resnext.choose_comparison(flags), flags)
    assert {(m.data.dataset, m.model.stem, m.optim.epochs) for m in members} == {(dataset, "imagenet", 100)}
    for member in members:
        member.check()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--arch", "plain20"], "a comparison's networks are its --members"),
        (["--members", "plain20"], "two networks or more"),
        (["--members", "plain20", "plain20"], "each once"),
        (["--members", "plain20", "plain21"], "did you mean plain20 or plain26"),
        (["--seeds", "0"], "--seeds must be at least 1"),
    ],
)
def test_a_comparison_that_cannot_be(flags, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        degradation.main([*flags, "--workdir", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_a_folder_in_the_reports_place_is_found_before_the_training(small_members, tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match="holds thesis"):
        compare.main([*small_members, "--workdir", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
