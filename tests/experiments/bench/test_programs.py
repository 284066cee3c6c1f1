"""Whole programs beside PyTorch's: an epoch, and the time to the first step."""

import json

import jax
import numpy as np
import pytest

from experiments.bench.__main__ import main
from experiments.bench.config import BenchConfig
from experiments.bench.epoch import epoch_rows, program_flags, run_program
from experiments.bench.race import race_rows
from experiments.bench.start import first_step_rows, seconds_to_first_record
from experiments.program.errors import ExperimentError
from experiments.settings.recipes import choose

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


def race_reports(*accuracies):
    """Reports of two programs that validate every 10 and every 15 seconds."""
    return {
        name: {
            "images_per_second": 1000.0,
            "test_accuracy": 0.9,
            "validations": [
                {"epoch": i, "val_accuracy": accuracy, "seconds": seconds * i}
                for i, accuracy in enumerate(accuracies, 1)
            ],
        }
        for name, seconds in (("jax_resnet", 10.0), ("PyTorch", 15.0))
    }


def test_a_race_is_won_at_the_first_validation_that_is_good_enough():
    ours, theirs, ratio = race_rows("resnet20", "bf16", race_reports(0.5, 0.86, 0.87), 0.85)
    assert (ours["to 85.00% (s)"], ours["epochs"]) == (20, 2)
    assert theirs["to 85.00% (s)"] == 30
    assert ratio["to 85.00% (s)"] == pytest.approx(1.5)


def test_a_race_that_is_not_finished_keeps_what_was_measured():
    reports = race_reports(0.5, 0.84)
    reports["jax_resnet"] = race_reports(0.5, 0.86)["jax_resnet"]
    ours, theirs = race_rows("resnet20", "bf16", reports, 0.85)
    assert ours["to 85.00% (s)"] == 20
    assert theirs["to 85.00% (s)"] is None
    assert theirs["last validation (%)"] == pytest.approx(84)


@pytest.mark.parametrize("recipe", ["quick", "fast", "standard"])
def test_the_pytorch_program_has_the_learning_rates_of_a_recipe(recipe):
    torch = pytest.importorskip("torch", reason=TORCH)
    from experiments.bench.torch_cifar10 import make_schedule as make_torch_schedule
    from experiments.training.optimizer import make_schedule

    optim = choose("cifar10", recipe, "resnet20").optim
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=optim.learning_rate)
    theirs = make_torch_schedule(optimizer, optim, 40)
    ours = make_schedule(optim, 40, 4)
    for step in range(40):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(float(ours(step)), rel=1e-4, abs=1e-6)
        optimizer.step()
        theirs.step()


def test_the_pytorch_program_makes_images_smaller_as_ours_does():
    torch = pytest.importorskip("torch", reason=TORCH)
    from experiments.bench.torch_cifar10 import resize

    images = np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype(np.float32)
    ours = jax.image.resize(images, (2, 24, 24, 3), "bilinear")
    theirs = resize(torch.from_numpy(images.transpose(0, 3, 1, 2)), 24).permute(0, 2, 3, 1)
    np.testing.assert_allclose(theirs, ours, atol=1e-5)


@pytest.mark.slow
def test_a_race_of_both_programs(tmp_path):
    pytest.importorskip("torch", reason=TORCH)
    pytest.importorskip("sklearn", reason="the digits data set is scikit-learn's")
    out = tmp_path / "bench.json"
    flags = ["--race", "--dataset", "digits", "--arch", "resnet8", "--rounds", "1", "--accuracy", "0.2"]
    main([*flags, "--epochs", "6", "--out", str(out)])
    ours, theirs, ratio = json.loads(out.read_text())["rows"]
    assert max(ours["epochs"], theirs["epochs"]) <= 6
    assert ours["dtype"] == theirs["dtype"]
    assert min(ours["last validation (%)"], theirs["last validation (%)"]) > 20
    assert ratio["to 20.00% (s)"] > 0


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
