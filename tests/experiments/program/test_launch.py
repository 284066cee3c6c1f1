import json
import os
import signal
import subprocess
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.cifar10 import main
from experiments.launch import free_port
from experiments.launch import launch as launch_processes
from experiments.program.errors import LaunchError
from experiments.runs.lock import FolderLock
from jax_resnet import checkpoint
from tests.helpers.processes import alive, wait_until

ACCEPTED = ["--arch", "resnet20", "--max-steps", "30", "--batch-size", "64", "--log-every", "1"]


@pytest.fixture
def launch(start):
    """Starts two processes; whatever is left of them at the end is killed."""
    launched = []

    def launch(*args, processes=2):
        command = ("--processes", processes, "--", "-m", "experiments.cifar10", *args)
        launched.append(start(*command, module="experiments.launch"))
        return launched[-1]

    yield launch
    for process in launched:
        for child in children(process):
            os.kill(child, signal.SIGKILL)
        process.kill()
        process.communicate()


def children(process):
    """Process numbers of the launched processes, process 0 first."""
    try:
        return sorted(map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()))
    except OSError:
        return []


def records(workdir):
    if not (workdir / "metrics.jsonl").exists():
        return []
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def wait_for_step(workdir, step, seconds=240):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (found := records(workdir)) and found[-1]["step"] >= step:
            return
        time.sleep(0.1)
    raise AssertionError(f"step {step} was not reached in {seconds} s")


def finish(process, seconds=300):
    output, error = process.communicate(timeout=seconds)
    assert process.returncode == 0, error[-2000:]
    return output


def assert_same_beginning(two, one):
    """The same losses over ten steps, but for rounding that grows, and evaluations over the same images."""
    a, b = records(two), records(one)
    losses = [[r["loss"] for r in run if r["kind"] == "train"][:10] for run in (a, b)]
    assert len(losses[0]) == 10
    np.testing.assert_allclose(*losses, rtol=1e-4)
    counts = [[(r["kind"], r["step"], r["images"]) for r in run if r["kind"] != "train"] for run in (a, b)]
    assert counts[0] == counts[1] != []


@pytest.fixture(scope="module")
def trained_by_two(small, start, tmp_path_factory):
    """The folder of a run of 12 steps by two processes; what it printed. Not to be written to."""
    workdir = tmp_path_factory.mktemp("two")
    gentle = ("--learning-rate", "0.01", "--warmup-epochs", "2")  # that rounding stays small
    flags = [*small, *gentle, "--log-every", "1", "--max-steps", "12", "--workdir", workdir]
    process = start("--processes", 2, "--", "-m", "experiments.cifar10", *flags, module="experiments.launch")
    return workdir, flags[:-2], finish(process)


@pytest.mark.slow
def test_two_processes_train_as_one(trained_by_two, tmp_path):
    two, flags, said = trained_by_two
    assert said.count("test accuracy") == 1  # process 0 speaks for both
    main([*map(str, flags), "--workdir", str(tmp_path)])
    assert_same_beginning(two, tmp_path)
    summaries = [json.loads((run / "summary.json").read_text()) for run in (two, tmp_path)]
    assert summaries[0]["test_accuracy"] == pytest.approx(summaries[1]["test_accuracy"], abs=0.02)
    with np.load(two / "predictions.npz") as found, np.load(tmp_path / "predictions.npz") as expected:
        np.testing.assert_array_equal(found["labels"], expected["labels"])
        assert found["logits_last"].shape == expected["logits_last"].shape


@pytest.mark.slow
def test_one_process_goes_on_where_two_were_and_two_where_one_was(trained_by_two, launch, tmp_path):
    two, flags, _ = trained_by_two
    written = checkpoint.restore(two, "last").variables
    subprocess.run(["cp", "-r", two, tmp_path / "run"], check=True)
    resume = ["--resume", "--workdir", str(tmp_path / "run")]
    main([*resume, "--max-steps", "12"])  # nothing left to train: what was read is what is tested
    restored = checkpoint.restore(tmp_path / "run", "last").variables
    jax.tree.map(np.testing.assert_array_equal, restored, written)
    with np.load(two / "predictions.npz") as a, np.load(tmp_path / "run/predictions.npz") as b:
        np.testing.assert_allclose(a["logits_last"], b["logits_last"], rtol=1e-4, atol=1e-5)

    main([*resume, "--max-steps", "14"])
    finish(launch(*resume, "--max-steps", "16"))
    main([*map(str, flags), "--max-steps", "16", "--workdir", str(tmp_path / "straight")])
    steps, expected = records(tmp_path / "run"), records(tmp_path / "straight")
    losses = [[r["loss"] for r in run if r["kind"] == "train"] for run in (steps, expected)]
    # The same global batches in the same order: the losses differ by rounding that has grown for 16 steps.
    np.testing.assert_allclose(*losses, rtol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("other", [["--resume"], ["--eval-every", "2"], ["--dtype", "f32"], ["--seeds", "2"]])
def test_processes_with_other_flags_are_refused_before_they_wait(small, start, tmp_path, other):
    place = ["--coordinator", f"localhost:{free_port()}", "--num-processes", "2", "--process-id"]
    flags = [*small, "--dtype", "auto", "--workdir", tmp_path / "run"]
    both = [start(*flags, *place, "0"), start(*flags, *other, *place, "1")]
    errors = [process.communicate(timeout=240)[1] for process in both]
    assert [process.returncode for process in both] == [1, 1]
    assert f"process 1 has another {other[0]} than process 0: start all" in errors[0]
    assert "Traceback" not in "".join(errors)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_when_one_is_killed_the_other_ends_and_the_run_can_go_on(small, launch, tmp_path, killed):
    flags = [*small, "--log-every", "1", "--checkpoint-minutes", "0.001"]
    process = launch(*flags, "--workdir", tmp_path)
    wait_for_step(tmp_path, 8)
    os.kill(children(process)[killed], signal.SIGKILL)
    _, error = process.communicate(timeout=180)
    assert process.returncode == 128 + signal.SIGKILL
    assert error.splitlines()[-1] == f"error: process {killed} was ended by SIGKILL"
    if killed == 1:
        assert "another process of this run has ended; --resume continues" in error

    before = checkpoint.Checkpointer(tmp_path).steps()
    assert before
    said = finish(launch("--resume", "--workdir", tmp_path, "--max-steps", before[-1] + 2))
    assert f"continuing from step {before[-1]}" in said


@pytest.mark.slow
def test_a_signal_to_one_stops_both_after_the_same_step(small, launch, tmp_path):
    process = launch(*small, "--log-every", "1", "--workdir", tmp_path)
    wait_for_step(tmp_path, 5)
    os.kill(children(process)[1], signal.SIGTERM)
    _, error = process.communicate(timeout=180)
    assert process.returncode == 128 + signal.SIGTERM
    stopped = records(tmp_path)[-1]["step"]
    assert f"error: stopped at step {stopped}, checkpoint written" in error
    assert checkpoint.Checkpointer(tmp_path).steps() == [stopped]


SLEEPER = """
import os, sys, time
from pathlib import Path
from experiments.program.start import start

def main():
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(60)

start(main)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
def test_a_killed_launcher_takes_its_processes_with_it(start, tmp_path):
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    (tmp_path / "pids").mkdir()
    args = ("--processes", 3, "--", tmp_path / "sleeper.py", tmp_path / "pids")
    launcher = start(*args, module="experiments.launch")
    assert wait_until(lambda: len(os.listdir(tmp_path / "pids")) == 3, 60)
    pids = [int(name) for name in os.listdir(tmp_path / "pids")]
    assert all(map(alive, pids))
    launcher.kill()
    launcher.communicate()
    assert wait_until(lambda: not any(map(alive, pids)), 60)


@pytest.mark.slow
def test_a_killed_launcher_frees_the_lock_and_the_run_goes_on(small, launch, tmp_path):
    flags = [*small, "--log-every", "1", "--checkpoint-minutes", "0.001"]
    process = launch(*flags, "--workdir", tmp_path)
    wait_for_step(tmp_path, 8)
    pids = children(process)
    process.kill()
    process.communicate()
    assert wait_until(lambda: not any(map(alive, pids)), 60)
    FolderLock(tmp_path).release()
    before = checkpoint.Checkpointer(tmp_path).steps()
    main(["--resume", "--workdir", str(tmp_path), "--max-steps", str(before[-1] + 2)])
    assert records(tmp_path)[-1]["step"] == before[-1] + 2


@pytest.mark.slow
def test_what_is_wrong_is_said_once(finished, small, launch):
    process = launch(*small, "--workdir", finished)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    said = [line for line in error.splitlines() if "error" in line]
    assert len(said) == 1
    assert "holds a run already" in said[0]


def test_the_first_to_fail_is_named_whatever_becomes_of_the_others(monkeypatch):
    program = (
        "import signal, sys, time\n"
        "if sys.argv[-1] == '1':\n"
        "    sys.exit('error: the cause')\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "time.sleep(600)\n"
    )
    for name in ("GRACE", "PATIENCE"):
        monkeypatch.setattr(f"experiments.launch.{name}", 1.0)
    with pytest.raises(LaunchError, match=r"^process 1 ended with exit code 1: the cause$") as error:
        launch_processes(["-c", program], 2)
    assert error.value.code == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--processes", "0", "--", "-m", "x"], "--processes must be more than 0"),
        (["--processes", "2"], "name a program after --"),
    ],
)
def test_what_cannot_be_launched_is_named(start, args, message):
    _, error = (process := start(*args, module="experiments.launch")).communicate(timeout=180)
    assert process.returncode == 2
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.slow
@pytest.mark.cifar10
def test_the_real_thing(cifar10, launch, tmp_path):
    finish(launch(*ACCEPTED, "--workdir", tmp_path / "two"), seconds=900)
    main([*ACCEPTED, "--workdir", str(tmp_path / "one")])
    assert_same_beginning(tmp_path / "two", tmp_path / "one")
    summaries = [json.loads((tmp_path / run / "summary.json").read_text()) for run in ("two", "one")]
    assert summaries[0]["test_accuracy"] == pytest.approx(summaries[1]["test_accuracy"], abs=0.01)
