"""Small real runs: scikit-learn's digits, a network of eight layers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.cifar10 import main

pytest.importorskip("sklearn", reason="the digits data set is scikit-learn's")

SMALL = [
    *("--dataset", "digits", "--arch", "resnet8", "--batch-size", "32", "--val-size", "100"),
    *("--epochs", "2", "--log-every", "5", "--crop-padding", "1", "--schedule", "cosine"),
    *("--warmup-epochs", "0"),
]


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def small(data_dir):
    """Flags of a run of a few seconds."""
    return [*SMALL, "--data-dir", str(data_dir)]


@pytest.fixture(scope="session")
def small_by_steps(small):
    """The same flags, for a run whose length is given by ``--steps``."""
    at = small.index("--epochs")
    return [*small[:at], *small[at + 2 :]]


@pytest.fixture(scope="session")
def finished(small, tmp_path_factory):
    """The folder of a small run that went through: 2 epochs of digits. Not to be written to."""
    workdir = tmp_path_factory.mktemp("finished")
    main([*small, "--workdir", str(workdir)])
    return workdir


@pytest.fixture(scope="session")
def start():
    """Starts the program in a process of its own; what a failed test leaves of it is ended."""
    started: list[subprocess.Popen] = []

    def start(*args: object, module: str | None = "experiments.cifar10") -> subprocess.Popen:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            [sys.executable, *(["-m", module] if module else []), *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        if not process.stdout.closed:
            process.communicate()
