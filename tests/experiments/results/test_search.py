"""The log of tried settings."""

import json

import pytest

from experiments.program.errors import ConfigError
from experiments.results.__main__ import main
from experiments.results.search import Trial, read_trials
from tests.helpers.run_folders import write_run

LINE = {"recipe": "fast", "flags": "", "seed": 0, "val_accuracy": 0.9, "steps": 100, "device": "cpu"}


def test_runs_are_logged_once(tmp_path):
    log = tmp_path / "search.jsonl"
    log.write_text(json.dumps(LINE))  # without an end of line
    runs = [
        write_run(tmp_path / f"seed{seed}", seed=seed, settings={"optim": {"learning_rate": 0.3}})
        for seed in (0, 1)
    ]
    for seconds in (70, 90):  # as after --resume of a finished run, which only tests again
        for run in runs:
            summary = json.loads((run / "summary.json").read_text())
            (run / "summary.json").write_text(json.dumps({**summary, "seconds": seconds}))
        main(["log", *map(str, runs), "--out", str(log)])
    first, *logged = read_trials(log)
    assert first == Trial("fast", val_accuracy=0.9, steps=100, device="cpu")
    assert logged == [
        Trial("standard", "resnet20", "--learning-rate 0.3 --warmup 0", seed, 0.5, 20, "cpu, 2 cores", 1.17)
        for seed in (0, 1)
    ]


def test_without_validation_nothing_is_logged(tmp_path):
    run = write_run(tmp_path / "run", summary={"val_accuracy": None})
    with pytest.raises(ConfigError, match="no validation accuracy"):
        main(["log", str(run), "--out", str(tmp_path / "search.jsonl")])
    assert not (tmp_path / "search.jsonl").exists()


def test_flags_may_be_a_list(tmp_path):
    log = tmp_path / "search.jsonl"
    log.write_text(json.dumps({**LINE, "flags": ["--mean", "0.5"]}) + "\n\n")
    assert read_trials(log)[0].flags == "--mean 0.5"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ("[]", "line 2: not a JSON object"),
        (json.dumps({**LINE, "steps": None}), "line 2: without steps"),
        (json.dumps({**LINE, "val_accuracy": 91.2}), "val_accuracy is not a number from 0 to 1"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, message):
    log = tmp_path / "search.jsonl"
    log.write_text(json.dumps(LINE) + "\n" + line + "\n")
    with pytest.raises(ConfigError, match=message):
        read_trials(log)


def test_no_log_is_no_trials(tmp_path):
    assert read_trials(tmp_path / "search.jsonl") == []


def test_another_data_set_is_among_the_flags(tmp_path):
    run = write_run(tmp_path / "run", settings={"data": {"dataset": "cifar100"}})
    main(["log", str(run), "--out", str(tmp_path / "search.jsonl")])
    (trial,) = read_trials(tmp_path / "search.jsonl")
    assert trial.flags.startswith("--dataset cifar100")
