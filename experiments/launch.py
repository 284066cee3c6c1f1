"""Runs a program as several processes of this machine: for trying, and for testing.

python -m experiments.launch --processes 2 -- -m experiments.cifar10 --arch resnet20
"""

import collections
import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from experiments.program.distributed import LOST_CODE
from experiments.program.errors import ConfigError, LaunchError
from experiments.program.launcher import LAUNCHED
from experiments.program.start import ENDING_SIGNALS, start
from experiments.settings.fields import check_ranges, setting
from experiments.settings.parser import About, parse_flags

# Seconds that the others have to end by themselves once one has failed, and then after SIGTERM.
GRACE, PATIENCE = 40.0, 10.0
# Lines of standard error kept of each process that does not write to the terminal.
KEPT = 20

ABOUT = About(
    "Runs what follows -- as several processes of this machine, which train together.",
    examples=("python -m experiments.launch --processes 2 -- -m experiments.cifar10 --arch resnet20",),
)


@dataclasses.dataclass(frozen=True)
class LaunchConfig:
    """Processes."""

    processes: int = setting(
        2, "Number of processes; the cores are divided among them.", above=0, at_most=1024, common=True
    )


# Windows has SIGTERM alone, which ends a process there at once.
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


class Process:
    """One of the processes: process 0 writes to the terminal, the last errors of the others are kept."""

    def __init__(self, index: int, command: Sequence[str], cores: set[int]) -> None:
        self.index = index
        self.errors: collections.deque[str] = collections.deque(maxlen=KEPT)
        quiet = {} if index == 0 else {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        # A session of its own: Ctrl-C reaches the launcher alone, which passes it on once. The pipe that is
        # its standard input breaks when the launcher is killed.
        self.process = subprocess.Popen(  # type: ignore[call-overload]
            command,
            start_new_session=True,
            text=True,
            stdin=subprocess.PIPE,
            errors="replace",
            env={**os.environ, LAUNCHED: "1"},
            **quiet,
        )
        with contextlib.suppress(OSError, AttributeError):
            os.sched_setaffinity(self.process.pid, cores)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        if self.process.stderr is not None:
            self.errors.extend(line.rstrip() for line in self.process.stderr)

    def send(self, number: int) -> None:
        """Sends a signal, if the process is still there."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def close(self) -> None:
        """Waits for its end, and closes the pipes to it."""
        self.process.wait()
        self._reader.join(timeout=1)
        pipes = [self.process.stdin, None if self._reader.is_alive() else self.process.stderr]
        for pipe in filter(None, pipes):
            with contextlib.suppress(OSError):  # a process that is gone breaks its pipe
                pipe.close()

    def end(self) -> str:
        """One line about how it ended."""
        code = self.process.returncode
        if code < 0:
            return f"process {self.index} was ended by {signal.Signals(-code).name}"
        printed = [line.removeprefix("error: ") for line in self.errors if line.strip()]
        return f"process {self.index} ended with exit code {code}" + (f": {printed[-1]}" if printed else "")


def launch(command: Sequence[str], processes: int) -> None:
    """Runs ``python COMMAND --coordinator ...`` as ``processes`` processes, and waits for all of them.

    Raises:
        LaunchError: One of them failed; the others are ended.
    """
    address = f"localhost:{free_port()}"
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    running = []
    for index in range(processes):
        flags = ("--coordinator", address, "--num-processes", processes, "--process-id", index)
        mine = set(cores[index::processes]) or {cores[index % len(cores)]}
        running.append(Process(index, [sys.executable, *command, *map(str, flags)], mine))

    def pass_on(number: int, frame: object) -> None:
        for process in running:
            process.send(number)

    previous = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, *ENDING_SIGNALS)}
    try:
        failed = wait(running)
    finally:
        for process in running:
            process.send(KILL)
        for process in running:
            process.close()
        for number, handler in previous.items():
            signal.signal(number, handler)
    if not failed:
        return
    # Those that ended because another did are not the cause.
    causes = [process for process in failed if process.process.returncode != LOST_CODE] or failed
    cause = min(causes, key=lambda process: (process.process.returncode > 0, process.index))
    code = cause.process.returncode
    printed = cause.index == 0 and code > 0
    raise LaunchError(code if code > 0 else 128 - code, None if printed else cause.end())


def wait(running: Sequence[Process]) -> list[Process]:
    """Waits for the end of all processes: by themselves, or soon after one of them failed.

    Returns:
        Those that failed before any was made to end.
    """
    deadline, terminated = float("inf"), False
    failed: list[Process] = []
    while any(process.process.poll() is None for process in running):
        if not terminated:
            failed = [process for process in running if process.process.poll()]
            if failed and deadline == float("inf"):
                deadline = time.monotonic() + GRACE
        if time.monotonic() > deadline:
            for process in running:
                process.send(KILL if terminated else signal.SIGTERM)
            deadline, terminated = time.monotonic() + PATIENCE, True
        time.sleep(0.05)
    return failed if terminated else [process for process in running if process.process.returncode]


def free_port() -> int:
    """A free port of this machine."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port: int = free.getsockname()[1]
        return port


def main(args: Sequence[str] | None = None) -> None:
    """Parses the flags and runs."""
    args = list(sys.argv[1:] if args is None else args)
    cut = args.index("--") if "--" in args else len(args)
    config = parse_flags(LaunchConfig, "python -m experiments.launch", ABOUT, args[:cut], LaunchConfig())
    check_ranges(config)
    if not args[cut + 1 :]:
        raise ConfigError("name a program after --, such as -- -m experiments.cifar10 --arch resnet20")
    launch(args[cut + 1 :], config.processes)


if __name__ == "__main__":
    start(main)
