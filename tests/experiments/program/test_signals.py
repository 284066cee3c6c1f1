"""A run and its signals, in processes of their own: what it says, how it ends, and what is left of it."""

import json
import os
import shutil
import signal
import time

import pytest

from experiments.cifar10 import main
from experiments.program.signals import StopSignals
from tests.experiments.training.test_resume import assert_same_weights, metrics, wait_for_step

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="the signals are those of POSIX")
HOW = "continues from the last checkpoint"


def shell_code(process):
    """The exit code that a shell shows, also for a process that a signal ended."""
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


@pytest.fixture
def deaf(tmp_path):
    """A program that notes signals and never acts on them."""
    (tmp_path / "deaf.py").write_text(
        "import signal, time\n"
        "from pathlib import Path\n"
        "from experiments.program.signals import StopSignals\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup ignores, for all that it starts\n"
        "with StopSignals(Path('runs/mine')) as signals:\n"
        "    print('ready', flush=True)\n"
        "    while not signals.number: time.sleep(0.01)\n"
        "    print('noted', flush=True)\n"
        "    while True: time.sleep(0.01)\n"
    )
    return tmp_path / "deaf.py"


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_at_once_in_one_line(start, deaf, first, second):
    run = start(deaf, module=None)
    run.stdout.readline()
    run.send_signal(first)
    assert run.stdout.readline() == "noted\n"
    run.send_signal(second)
    _, error = run.communicate(timeout=180)
    assert run.returncode == 128 + second
    expected = f"error: ended at once by a second signal, {second.name}; --resume --workdir runs/mine {HOW}\n"
    assert error == expected


def test_a_terminal_that_closes_twice_counts_once(start, deaf):
    run = start(deaf, module=None)
    run.stdout.readline()
    for _ in range(3):
        run.send_signal(signal.SIGHUP)
        time.sleep(0.1)
    assert run.poll() is None
    run.kill()
    run.communicate()


def test_handlers_are_as_before_afterwards(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with StopSignals(tmp_path) as signals:
        signal.raise_signal(signal.SIGTERM)
        assert signals.number == signal.SIGTERM
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("gap", [0.01, 0.05, 0.2, 0.5])
def test_two_signals_at_any_distance_leave_one_line_and_a_run_that_goes_on(
    small, start, tmp_path, number, gap
):
    run = start(*small, "--epochs", "20", "--checkpoint-minutes", "0.0001", "--workdir", tmp_path / "run")
    wait_for_step(tmp_path / "run", 5)
    run.send_signal(number)
    time.sleep(gap)
    if run.poll() is None:
        run.send_signal(number)
    _, error = run.communicate(timeout=180)
    assert shell_code(run) == 128 + number  # the second may come when Python has no handlers any more
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "--resume --workdir" in error
    steps = [int(name.name) for name in (tmp_path / "run" / "checkpoints").iterdir() if name.name.isdigit()]
    last = max(steps, default=0)
    main(["--resume", "--workdir", str(tmp_path / "run"), "--max-steps", str(last + 2)])
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["steps"] == last + 2
    assert not [name for name in os.listdir(tmp_path / "run" / "checkpoints") if "tmp" in name]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_the_tests_at_the_end_says_how_to_resume(finished, start, tmp_path, number):
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    run = start("--resume", "--eval-batch-size", "1", "--workdir", tmp_path / "run")
    for line in run.stdout:
        if line.startswith("testing the last checkpoint"):
            break
    run.send_signal(number)
    _, error = run.communicate(timeout=180)
    assert run.returncode == 128 + number
    assert error.startswith("error: stopped at step 82, checkpoint written; --resume --workdir ")
    assert error.count("\n") == 1
    assert not (tmp_path / "run" / "summary.json").exists()
    main(["--resume", "--eval-batch-size", "500", "--workdir", str(tmp_path / "run")])
    assert metrics(tmp_path / "run", "test") == metrics(finished, "test")


@pytest.mark.slow
def test_a_signal_while_a_comparison_is_reported_says_how_to_go_on(start, data_dir, tmp_path):
    """The report takes long here: a program that sleeps in it, as drawing does."""
    program = tmp_path / "compare.py"
    program.write_text(
        "import time\n"
        "import experiments.report\n"
        "from experiments.compare import main\n"
        "from experiments.program.start import start\n"
        "def slow(*args, **kwargs):\n"
        "    print('reporting', flush=True)\n"
        "    time.sleep(60)\n"
        "experiments.report.write_report = slow\n"
        "start(main)\n"
    )
    flags = ["--dataset", "digits", "--data-dir", data_dir, "--members", "resnet8", "plain8"]
    flags += ["--batch-size", "32", "--epochs", "1", "--max-steps", "2", "--workdir", tmp_path / "run"]
    run = start(program, *flags, module=None)
    for line in run.stdout:
        if line.startswith("reporting"):
            break
    run.send_signal(signal.SIGTERM)
    _, error = run.communicate(timeout=180)
    assert run.returncode == 128 + signal.SIGTERM
    assert error == (
        "error: stopped while the report was written, all runs are finished; the same command continues\n"
    )


@pytest.mark.slow
def test_a_run_that_is_stopped_and_continued_leaves_what_it_would_have_left(finished, small, start, tmp_path):
    run = start(*small, "--workdir", tmp_path)
    wait_for_step(tmp_path, 5)
    for _ in range(5):
        run.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        run.send_signal(signal.SIGCONT)
        time.sleep(0.1)
    _, error = run.communicate(timeout=120)
    assert (run.returncode, error) == (0, "")
    assert metrics(tmp_path, "train", "val", "test") == metrics(finished, "train", "val", "test")
    assert_same_weights(tmp_path, finished)


@pytest.mark.slow
def test_a_reader_that_is_gone_stops_the_run_with_a_checkpoint(finished, small, start, tmp_path):
    run = start(*small, "--workdir", tmp_path)
    wait_for_step(tmp_path, 5)
    run.stdout.close()  # as tee's end closes the pipe; the next line cannot be written
    with run.stderr:
        error = run.stderr.read()
    assert run.wait(timeout=120) == 141
    assert error.startswith("error: stopped at step ")
    main(["--resume", "--workdir", str(tmp_path)])
    assert_same_weights(tmp_path, finished)
