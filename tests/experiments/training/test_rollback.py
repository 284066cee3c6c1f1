"""``--on-nan rollback``: a run that diverges by construction goes back, and to its end."""

import json
import signal

import jax
import numpy as np
import pytest

from experiments.cifar10 import main
from experiments.program.errors import ExperimentError
from experiments.report import write_report
from jax_resnet import checkpoint

# Weights grow by 1 - rate x decay each step: -6, then -2.5, and from a quarter of the rate on they shrink.
DIVERGING = [
    *("--learning-rate", "0.7", "--weight-decay", "10", "--momentum", "0", "--schedule", "constant"),
    *("--log-every", "1", "--epochs", "4", "--on-nan", "rollback"),
]


def records(workdir):
    found = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k not in ("seconds", "images_per_second")} for r in found]


@pytest.fixture(scope="module")
def recovered(small, tmp_path_factory):
    """The folder of a diverging run that went through."""
    workdir = tmp_path_factory.mktemp("recovered")
    main([*small, *DIVERGING, "--workdir", str(workdir)])
    return workdir


def test_a_run_that_diverges_goes_back_with_a_lower_rate_and_finishes(recovered, tmp_path):
    found = records(recovered)
    backs = [r for r in found if r["kind"] == "rollback"]
    assert [r["factor"] for r in backs] == [0.5, 0.25]
    assert all(r["from_step"] > r["step"] for r in backs)
    training = [r for r in found if r["kind"] == "train"]
    assert [r["step"] for r in training] == list(range(1, training[-1]["step"] + 1))
    assert training[-1]["learning_rate"] == pytest.approx(0.7 / 4)
    assert json.loads((recovered / "summary.json").read_text())["steps"] == training[-1]["step"]
    assert write_report([recovered], tmp_path / "report") == []


def test_a_run_killed_after_a_rollback_goes_on_to_the_same_weights(recovered, small, tmp_path, start):
    process = start(*small, *DIVERGING, "--workdir", tmp_path)
    assert any("back at step" in line for line in process.stdout)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert any(r["kind"] == "rollback" for r in records(tmp_path))
    main(["--resume", "--workdir", str(tmp_path)])
    assert records(tmp_path) == records(recovered)
    one, other = (checkpoint.restore(run, "last").variables for run in (tmp_path, recovered))
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_it_stops_after_three_rollbacks(small, tmp_path):
    with pytest.raises(ExperimentError, match=r"not finite at step \d+, .* learning rate 1.25e\+29"):
        main([*small, "--on-nan", "rollback", "--learning-rate", "1e30", "--workdir", str(tmp_path)])
    assert [r["factor"] for r in records(tmp_path) if r["kind"] == "rollback"] == [0.5, 0.25, 0.125]


@pytest.mark.parametrize("flags", [[], ["--on-nan", "rollback"]])
def test_a_validation_that_is_not_finite_is_one_clear_error(small_by_steps, tmp_path, flags):
    """The only update is checked by nothing but the validation that follows it."""
    training = [*small_by_steps, "--arch", "mnist_cnn", "--steps", "1", "--learning-rate", "1e38"]
    with pytest.raises(ExperimentError, match=r"^the validation loss is not finite at step 1, "):
        main([*training, *flags, "--workdir", str(tmp_path)])
    assert not [r for r in records(tmp_path) if r["kind"] == "val"]


def test_a_test_that_is_not_finite_is_one_clear_error(small_by_steps, tmp_path):
    training = [*small_by_steps, "--arch", "mnist_cnn", "--steps", "1", "--learning-rate", "1e38"]
    with pytest.raises(ExperimentError, match=r"^the test loss of the last checkpoint is not finite"):
        main([*training, "--val-size", "0", "--workdir", str(tmp_path)])
    assert not (tmp_path / "summary.json").exists()
