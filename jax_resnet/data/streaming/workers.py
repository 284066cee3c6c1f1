"""Runs a function of numbers in threads or processes with grain, and batches what comes, in order."""

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterator
from multiprocessing import resource_tracker, util
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from jax_resnet.data.order import Batches
from jax_resnet.errors import DataError

MISSING = "streamed data needs grain, which is not installed: pip install 'jax-resnet[stream]'"
# Batches that threads have ready: one to hand over, one for when a batch takes longer.
AHEAD = 2


@dataclasses.dataclass(frozen=True)
class Work:
    """What there is to do.

    Attributes:
        load: From a number to an example: arrays and NumPy scalars by name.
        start: The first number.
        stop: The end.
        batch_size: Examples a batch.
    """

    load: Callable[[int], dict[str, Any]]
    start: int
    stop: int
    batch_size: int

    def __len__(self) -> int:
        return -(-(self.stop - self.start) // self.batch_size)


def run(work: Work, workers: int) -> Batches:
    """Batches of what ``load`` makes of ``start, start + 1, ...``, the same however it is computed.

    Args:
        work: What to load; can be pickled where there are workers.
        workers: Processes that make whole batches in turn; 0 for threads of this process, one a core.

    Raises:
        DataError: grain is not installed, a worker was killed; and whatever ``load`` raises.
    """
    examples = _examples(work)
    if workers:
        yield from _run_processes(work, workers)
        return
    import grain

    threads = len(os.sched_getaffinity(0))
    options = grain.ReadOptions(
        num_threads=threads, prefetch_buffer_size=max(AHEAD * work.batch_size, threads)
    )
    with contextlib.closing(iter(examples.to_iter_dataset(options).batch(work.batch_size))) as batches:
        yield from batches


def _examples(work: Work) -> Any:
    try:
        import grain
        from absl import flags
    except ImportError as error:
        raise DataError(MISSING) from error
    if not flags.FLAGS.is_parsed():  # grain reads some with their defaults, which absl allows only then
        flags.FLAGS.mark_as_parsed()
    return grain.MapDataset.range(work.start, work.stop).map(work.load)


Crew = list[tuple[BaseProcess, Connection]]


def _run_processes(work: Work, workers: int) -> Batches:
    """The workers in turn, each at the end of a pipe of its own.

    Not grain's own processes: those send through queues, whose reader waits for ever for the rest of a batch
    when a worker is killed, or told to end, in the middle of sending it. A pipe of which the worker alone has
    the other end breaks off.
    """
    context = multiprocessing.get_context("spawn")
    resource_tracker.ensure_running()  # started with the first worker, it would let signals through to that
    crew: Crew = []
    # Also where nobody closes this generator: the program would wait for its children, and they for it.
    dismiss = util.Finalize(None, _dismiss, args=(crew,), exitpriority=1)
    try:
        with _signals_held():
            for index in range(workers):
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(sender, work, index, workers), daemon=True)
                process.start()
                sender.close()
                crew.append((process, receiver))
        for number in range(len(work)):
            yield _receive(*crew[number % workers])
    finally:
        dismiss()


def _receive(process: BaseProcess, receiver: Connection) -> dict[str, Any]:
    try:
        sent = receiver.recv()
    except (EOFError, OSError) as error:
        process.join()
        code = process.exitcode or 0
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        raise DataError(
            f"a process that decodes pictures was ended {how}: where memory is short, use fewer --workers"
        ) from error
    if isinstance(sent, Exception):
        raise sent
    batch: dict[str, Any] = sent
    return batch


def _dismiss(crew: Crew) -> None:
    for process, _ in crew:
        process.kill()  # nothing that it does is kept
    for process, receiver in crew:
        process.join()
        receiver.close()


@contextlib.contextmanager
def _signals_held() -> Generator[None, None, None]:
    """Processes started in here never see Ctrl-C or SIGTERM; this one sees them afterwards.

    Both reach every process of a terminal or a job. The one that trains has a step to finish, and for that
    it needs its workers.
    """
    numbers, came = (signal.SIGINT, signal.SIGTERM), set[int]()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        # Any thread may be given the signal in spite of the mask, and Python then runs the handler in this
        # one: in the midst of telling a worker what it is for.
        handlers = {n: signal.signal(n, lambda number, frame: came.add(number)) for n in numbers}
    try:
        yield
    finally:
        for held, handler in handlers.items():
            signal.signal(held, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number in came:
            signal.raise_signal(number)


def _work(sender: Connection, work: Work, index: int, count: int) -> None:
    """Sends every ``count``-th batch, and at the end or in its place the error that came."""
    with contextlib.suppress(BrokenPipeError):  # nobody is there any more
        try:
            for batch in _every(work, index, count):
                sender.send(batch)
        except BrokenPipeError:
            raise
        except Exception as error:
            error.add_note(f"In a worker process:\n{traceback.format_exc()}")
            sender.send(error)
    sender.close()
    os._exit(0)  # at once: threads may be in the midst of batches that nobody wants


def _every(work: Work, index: int, count: int) -> Iterator[dict[str, Any]]:
    import grain

    # Batched before they are shared out, or what is in a batch would hang on the number of workers.
    batches = _examples(work).batch(work.batch_size)[index::count]
    # One is being sent or ready to be, one is in the making.
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=AHEAD - 1)
    return iter(batches.to_iter_dataset(options))
