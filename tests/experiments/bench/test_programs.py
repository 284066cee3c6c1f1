"""Whole programs beside PyTorch's: an epoch, and the time to the first step."""

import json

import pytest

from experiments.bench.__main__ import main
from experiments.bench.config import BenchConfig
from experiments.bench.end_to_end import epoch_rows, program_flags, run_program
from experiments.bench.first_step import first_step_rows, seconds_to_first_record
from experiments.program.errors import ExperimentError

TORCH = "compares with PyTorch, which is not installed"


def test_an_epoch_is_compared_round_by_round():
    # In both rounds ours takes 80% of the time of theirs, whatever the machine did meanwhile.
    def report(seconds):
        return {"process": 2 * seconds, "seconds": seconds, "images_per_second": 800 / seconds}

    reports = {"jax_resnet": [report(4), report(12)], "PyTorch": [report(5), report(15)]}
    first, second, ratio = epoch_rows("resnet20", 128, reports)
    assert first["whole process (s)"] == 16
    assert second["after set-up (s)"] == pytest.approx(10)
    for column in ("training (images/s)", "after set-up (s)", "whole process (s)"):
        assert ratio[column] == pytest.approx(1.25)


def test_a_program_that_fails_is_reported_in_one_line():
    with pytest.raises(ExperimentError, match=r"experiments.cifar10 ended with status 2: error: .*resnet20"):
        run_program(["experiments.cifar10", "--arch", "resnet21"])


def test_a_program_that_ends_before_its_first_step_is_reported_in_one_line(tmp_path):
    with pytest.raises(ExperimentError, match=r"ended with status 2 before its first step: .*resnet20"):
        seconds_to_first_record(["experiments.cifar10", "--arch", "resnet21"], tmp_path / "metrics.jsonl")


def test_the_time_to_the_first_step_is_a_median_over_starts():
    ours, theirs = first_step_rows("resnet20", 128, {"jax_resnet": [5.0, 9.0, 6.0], "PyTorch": [4.0]})
    name = "to the first step's end, median (s)"
    assert (ours[name], ours["fastest (s)"], ours["slowest (s)"], ours["starts"]) == (6, 5, 9, 3)
    assert (theirs[name], theirs["starts"]) == (4, 1)


@pytest.mark.slow
def test_both_programs_start_with_the_same_network_and_data(tmp_path, capsys):
    pytest.importorskip("torch", reason=TORCH)
    pytest.importorskip("sklearn", reason="the digits data set is scikit-learn's")
    out = tmp_path / "bench.json"
    main(["--start", "--dataset", "digits", "--arch", "resnet8", "--rounds", "1", "--out", str(out)])
    rows = json.loads(out.read_text())["rows"]
    assert [row["by"] for row in rows] == ["jax_resnet", "PyTorch"]
    assert all(0.5 < row["fastest (s)"] <= row["slowest (s)"] for row in rows)
    assert "| resnet8 |    64 | PyTorch" in capsys.readouterr().out


@pytest.mark.slow
def test_an_epoch_of_both_programs(tmp_path):
    pytest.importorskip("torch", reason=TORCH)
    pytest.importorskip("sklearn", reason="the digits data set is scikit-learn's")
    out = tmp_path / "bench.json"
    main(["--epoch", "--dataset", "digits", "--arch", "resnet8", "--rounds", "1", "--out", str(out)])
    rows = json.loads(out.read_text())["rows"]
    assert [row["by"] for row in rows] == ["jax_resnet", "PyTorch", "times as fast, median"]


def test_flags_of_both_programs_name_network_and_data():
    flags = program_flags(BenchConfig(arch=("resnet18",), dataset="digits"))
    assert flags == ["--arch", "resnet18", "--batch-size", "64", "--dataset", "digits", "--val-size", "300"]
