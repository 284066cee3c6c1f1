"""Times subjects in turns, so that whatever else the machine does falls on all of them alike."""

import contextlib
import dataclasses
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from experiments.bench.case import Subject
from experiments.program.errors import ExperimentError


@dataclasses.dataclass
class Result:
    """What came of a subject.

    Attributes:
        subject: What was timed.
        start_seconds: From nothing to the end of the first step, compilation included.
        parameters: Of the network.
        seconds: Of every step.
        peak_bytes: Largest resident memory of its process; 0 where a process had several subjects.
    """

    subject: Subject
    start_seconds: float
    parameters: int
    seconds: list[float] = dataclasses.field(default_factory=list)
    peak_bytes: int = 0

    @property
    def median(self) -> float:
        """Seconds of a step."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Half the distance of the quartiles, over the median."""
        if len(self.seconds) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.seconds, n=4)
        return (high - low) / 2 / self.median

    @property
    def images_per_second(self) -> float:
        """At the median."""
        return self.subject.batch_size / self.median

    @property
    def gflops(self) -> float:
        """Billions of operations a second at the median, see ``Subject.flops``."""
        return self.subject.flops() / self.median / 1e9


class Worker:
    """A process that times what it is told; see ``worker``."""

    def __init__(self, framework: str, cores: Sequence[int] = ()) -> None:
        """Starts it, on some of the processors only where ``cores`` are given."""
        # The experiments set malloc as this does; others run as their users find them.
        flags = ["--keep-freed-memory"] if framework == "jax_resnet" else []
        flags += ["--cores", *map(str, cores)] if cores else []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "experiments.bench.worker", *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, command: dict[str, Any]) -> dict[str, Any]:
        """Sends a command and waits for the answer.

        Raises:
            ExperimentError: It failed; the message has what.
        """
        self.tell(command)
        return self.answer()

    def tell(self, command: dict[str, Any]) -> None:
        """Sends a command."""
        assert self._process.stdin is not None
        # Where it has ended, that there is no answer says so.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Waits for the answer to a command.

        Raises:
            ExperimentError: It failed; the message has what.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ExperimentError(f"a timed process ended with status {self._process.wait()}: out of memory?")
        answer = json.loads(line)
        if "error" in answer:
            raise ExperimentError(answer["error"])
        return answer

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.communicate()


def race(
    subjects: Sequence[Subject],
    *,
    rounds: int,
    turn_seconds: float,
    at_once: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Result]:
    """Times each subject in a process of its own, in ``rounds`` turns of about ``turn_seconds``.

    Args:
        subjects: What to time.
        rounds: How many turns each has.
        turn_seconds: How long a turn is.
        at_once: Let all take turns; else one after another has all its turns, which takes less memory.
        tell: Hears of progress.

    Raises:
        ExperimentError: A subject failed.
    """
    if not at_once:
        return [race([s], rounds=rounds, turn_seconds=turn_seconds, tell=tell)[0] for s in subjects]
    workers: list[Worker] = []
    results: list[Result] = []
    try:
        for subject in subjects:
            workers.append(Worker(subject.framework))
            answer = workers[-1].ask({"prepare": dataclasses.asdict(subject)})
            results.append(Result(subject, answer["start_seconds"], answer["parameters"]))
        for turn in range(rounds):
            for worker, result in zip(workers, results, strict=True):
                take_turn(worker, 0, result, turn_seconds)
            tell(f"turn {turn + 1} of {rounds}")
    finally:
        for worker in workers:
            worker.close()
    return results


def race_together(subjects: Sequence[Subject], *, rounds: int) -> Result:
    """Times subjects that all run at the same time, each in a process with its share of the processors.

    They exchange nothing; a step is over when the last of them is.

    Raises:
        ExperimentError: A subject failed.
    """
    cores = sorted(os.sched_getaffinity(0))
    share = max(len(cores) // len(subjects), 1)
    workers = []
    try:
        for i, subject in enumerate(subjects):
            workers.append(Worker(subject.framework, cores[i * share : (i + 1) * share]))
        answers = [w.ask({"prepare": dataclasses.asdict(s)}) for w, s in zip(workers, subjects, strict=True)]
        together = Result(subjects[0], max(a["start_seconds"] for a in answers), answers[0]["parameters"])
        for _ in range(5 * rounds):
            for worker in workers:
                worker.tell({"index": 0, "steps": 1})
            ends = [worker.answer() for worker in workers]
            together.seconds.append(max(end["seconds"][0] for end in ends))
            together.peak_bytes = sum(end["peak_bytes"] for end in ends)
    finally:
        for worker in workers:
            worker.close()
    return together


def race_in_one_process_each(
    subjects: Sequence[Sequence[Subject]], *, rounds: int, turn_seconds: float
) -> list[list[Result]]:
    """Times small things: a process for each position of the rows, the rows one after another.

    Raises:
        ExperimentError: A subject failed.
    """
    workers = [Worker(subject.framework) for subject in subjects[0]]
    table = []
    try:
        for row in subjects:
            results, indices = [], []
            for worker, subject in zip(workers, row, strict=True):
                answer = worker.ask({"prepare": dataclasses.asdict(subject)})
                indices.append(answer["index"])
                results.append(Result(subject, answer["start_seconds"], answer["parameters"]))
            for _ in range(rounds):
                for worker, index, result in zip(workers, indices, results, strict=True):
                    take_turn(worker, index, result, turn_seconds)
            for result in results:
                result.peak_bytes = 0
            table.append(results)
    finally:
        for worker in workers:
            worker.close()
    return table


def take_turn(worker: Worker, index: int, result: Result, seconds: float) -> None:
    """Times as many steps as take about ``seconds``, after one that finds the caches cold."""
    steps = 2 if not result.seconds else math.ceil(seconds / result.median)
    answer = worker.ask({"index": index, "steps": steps + 1})
    result.seconds += answer["seconds"][1:]
    result.peak_bytes = answer["peak_bytes"]
