"""Times cases round by round, so that other work on the machine slows all of them equally."""

import contextlib
import dataclasses
import math
import os
import statistics
from collections.abc import Callable, Iterator, Sequence

from experiments.bench.case import Case
from experiments.bench.process import Worker
from experiments.program.errors import ExperimentError

__all__ = ["Timing", "interleaved", "interleaved_rows", "simultaneous"]


@dataclasses.dataclass
class Timing:
    """The measured times of a case.

    Attributes:
        case: What was timed.
        start_seconds: From nothing to the end of the first step, compilation included.
        parameters: Trained numbers of the network; 0 for a layer or a matrix product.
        seconds: Duration of each step.
        peak_bytes: Largest resident memory of the process; 0 where one process timed several cases.
    """

    case: Case
    start_seconds: float
    parameters: int
    seconds: list[float] = dataclasses.field(default_factory=list)
    peak_bytes: int = 0

    @property
    def median(self) -> float:
        """Median duration of a step in seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Half the interquartile range divided by the median."""
        if len(self.seconds) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.seconds, n=4)
        return (high - low) / 2 / self.median

    @property
    def images_per_second(self) -> float:
        """Images per second at the median; 0 for a matrix product."""
        return self.case.batch_size / self.median

    @property
    def gflops(self) -> float:
        """Billions of floating-point operations per second at the median, see ``Case.flops``."""
        return self.case.flops() / self.median / 1e9


class TimedCase:
    """A case that a worker has prepared, and its timing so far."""

    def __init__(self, worker: Worker, case: Case) -> None:
        """Lets the worker prepare the case, which takes its first steps.

        Raises:
            ExperimentError: The case failed.
        """
        answer = worker.request({"prepare": dataclasses.asdict(case)})
        self._worker, self._index = worker, answer["index"]
        self.timing = Timing(case, answer["start_seconds"], answer["parameters"])

    def run_round(self, seconds: float) -> None:
        """Times as many steps as take about ``seconds``, after one with cold caches that is not counted."""
        calls = 2
        if self.timing.seconds:
            calls = math.ceil(seconds / (self.timing.median * self.timing.case.steps_per_wait))
        self.send_steps(calls + 1)
        self.receive_steps(skip=1)

    def send_steps(self, steps: int) -> None:
        """Starts that many steps, or series of ``Case.steps_per_wait`` steps, without waiting for them."""
        self._worker.send({"index": self._index, "steps": steps})

    def receive_steps(self, skip: int = 0) -> None:
        """Waits for the steps that were started, and records all but the first ``skip``."""
        answer = self._worker.receive()
        self.timing.seconds += [s / self.timing.case.steps_per_wait for s in answer["seconds"][skip:]]
        self.timing.peak_bytes = answer["peak_bytes"]


@contextlib.contextmanager
def _workers(cases: Sequence[Case], cores: Sequence[Sequence[int]] | None = None) -> Iterator[list[Worker]]:
    """Starts a process for each case, each on its own ``cores`` where they are given."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Worker(case, cores[i] if cores else ())) for i, case in enumerate(cases)]


def _prepare(workers: Sequence[Worker], cases: Sequence[Case]) -> list[TimedCase]:
    return [TimedCase(worker, case) for worker, case in zip(workers, cases, strict=True)]


def interleaved(
    cases: Sequence[Case],
    *,
    rounds: int,
    round_seconds: float,
    progress: Callable[[str], None] = lambda line: None,
    on_failure: Callable[[Case, ExperimentError], None] | None = None,
) -> list[Timing]:
    """Times each case in its own process for about ``round_seconds`` per round.

    Args:
        cases: What to time.
        rounds: Number of rounds.
        round_seconds: Seconds per case and round.
        progress: Called with one line after each round.
        on_failure: Called with each case that cannot be prepared, which is left out then.

    Returns:
        The timings of the cases in order.

    Raises:
        ExperimentError: A case failed, and there is no ``on_failure`` or it had been prepared before.
    """
    with _workers(cases) as workers:
        prepared = []
        for worker, case in zip(workers, cases, strict=True):
            try:
                prepared.append(TimedCase(worker, case))
            except ExperimentError as error:
                if on_failure is None:
                    raise
                on_failure(case, error)
        for number in range(rounds):
            for timed in prepared:
                timed.run_round(round_seconds)
            progress(f"round {number + 1} of {rounds}")
    return [timed.timing for timed in prepared]


def interleaved_rows(
    rows: Sequence[Sequence[Case]], *, rounds: int, round_seconds: float
) -> list[list[Timing]]:
    """Times rows of small cases, one row after another, with one process per column.

    Raises:
        ExperimentError: A case failed.
    """
    table = []
    with _workers(rows[0]) as workers:
        for cases in rows:
            prepared = _prepare(workers, cases)
            for _ in range(rounds):
                for timed in prepared:
                    timed.run_round(round_seconds)
            table.append([dataclasses.replace(timed.timing, peak_bytes=0) for timed in prepared])
    return table


def simultaneous(cases: Sequence[Case], *, rounds: int) -> Timing:
    """Times cases that run at the same time, each in a process with an equal part of the processors.

    The processes exchange nothing. A step ends when the slowest process has finished it.

    Raises:
        ExperimentError: A case failed.
    """
    with _workers(cases, _equal_parts(len(cases))) as workers:
        prepared = _prepare(workers, cases)
        for _ in range(5 * rounds):
            for timed in prepared:
                timed.send_steps(1)
            for timed in prepared:
                timed.receive_steps()
    timings = [timed.timing for timed in prepared]
    return Timing(
        case=cases[0],
        start_seconds=max(timing.start_seconds for timing in timings),
        parameters=timings[0].parameters,
        seconds=[max(steps) for steps in zip(*(timing.seconds for timing in timings), strict=True)],
        peak_bytes=sum(timing.peak_bytes for timing in timings),
    )


def _equal_parts(count: int) -> list[list[int]] | None:
    """Divides this process's processors into ``count`` equal parts; None where the system cannot pin."""
    if not hasattr(os, "sched_getaffinity"):  # macOS, Windows
        return None
    cores = sorted(os.sched_getaffinity(0))
    size = max(len(cores) // count, 1)
    return [cores[i * size : (i + 1) * size] for i in range(count)]
