"""Loads examples by number in threads or processes with grain, and yields batches of them in order."""

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

__all__ = ["Work", "run"]

GRAIN_MISSING = "streamed data needs grain, which is not installed: pip install -e '.[stream]'"
NO_MAIN_GUARD = (
    "the program starts worker processes while it is imported, and each worker imports it: "
    'put what it runs under if __name__ == "__main__":, or use 0 workers'
)
# Batches that threads keep ready: one to hand over, and one for when a batch takes longer.
AHEAD = 2
# How a worker tells its parent, before they can talk, that it was made to start workers itself.
_NO_MAIN_GUARD_EXIT = 79
_NAME = "jax_resnet decoder"


@dataclasses.dataclass(frozen=True)
class Work:
    """The examples to load.

    Attributes:
        load: Maps a number to an example: arrays and NumPy scalars by name.
        start: The first number.
        stop: The number after the last.
        batch_size: Examples per batch.
    """

    load: Callable[[int], dict[str, Any]]
    start: int
    stop: int
    batch_size: int

    def __len__(self) -> int:
        """Number of batches."""
        return -(-(self.stop - self.start) // self.batch_size)


def run(work: Work, workers: int) -> Batches:
    """Batches of the examples ``start, start + 1, ...``, the same for any number of workers.

    Args:
        work: The examples; must be picklable where there are workers.
        workers: Number of processes, which make whole batches in turn; 0 for threads of this process, one
            per core.

    Raises:
        DataError: grain is not installed or a worker died; and any error that ``load`` raises.
    """
    examples = _examples(work)
    if workers:
        yield from _run_processes(work, workers)
        return
    import grain

    threads = _cores()
    options = grain.ReadOptions(
        num_threads=threads, prefetch_buffer_size=max(AHEAD * work.batch_size, threads)
    )
    with contextlib.closing(iter(examples.to_iter_dataset(options).batch(work.batch_size))) as batches:
        yield from batches


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux alone
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _examples(work: Work) -> Any:
    try:
        import grain
        from absl import flags
    except ImportError as error:
        raise DataError(GRAIN_MISSING) from error
    if not flags.FLAGS.is_parsed():  # grain reads the defaults of some, which absl allows only then
        flags.FLAGS.mark_as_parsed()
    return grain.MapDataset.range(work.start, work.stop).map(work.load)


Workers = list[tuple[BaseProcess, Connection]]


def _run_processes(work: Work, count: int) -> Batches:
    """Batches from the worker processes in turn, each through a pipe of its own.

    Not grain's own processes: those send through queues, whose reader waits forever for the rest of a batch
    when a worker is killed, or stopped, in the middle of sending it. A pipe whose other end only the worker
    holds breaks instead.
    """
    _exit_if_imported_by_a_worker()
    context = multiprocessing.get_context("spawn")
    if os.name == "posix":  # started with the first worker, it would let signals through to that
        resource_tracker.ensure_running()
    workers: Workers = []
    # Also where nobody closes this generator: the program would wait for its children, and they for it.
    kill = util.Finalize(None, _kill, args=(workers,), exitpriority=1)
    try:
        with _signals_held():
            for index in range(count):
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(
                    target=_work, args=(sender, work, index, count), name=f"{_NAME} {index}", daemon=True
                )
                process.start()
                sender.close()
                workers.append((process, receiver))
        for number in range(len(work)):
            yield _receive(*workers[number % count], first=number < count)
    finally:
        kill()


def _exit_if_imported_by_a_worker() -> None:
    """Ends a worker that is still importing the program, which has no ``__main__`` guard.

    multiprocessing would raise an error here, print it once per worker, and tell the parent nothing.
    """
    process = multiprocessing.current_process()
    if getattr(process, "_inheriting", False) and process.name.startswith(_NAME):
        os._exit(_NO_MAIN_GUARD_EXIT)


def _receive(process: BaseProcess, receiver: Connection, first: bool) -> dict[str, Any]:
    try:
        sent = receiver.recv()
    except (EOFError, OSError) as error:
        process.join()
        raise DataError(_why_it_ended(process.exitcode or 0, first)) from error
    if isinstance(sent, Exception):
        raise sent
    batch: dict[str, Any] = sent
    return batch


def _why_it_ended(code: int, first: bool) -> str:
    if code == _NO_MAIN_GUARD_EXIT:
        return NO_MAIN_GUARD
    if code < 0:
        name = signal.Signals(-code).name
        return (
            f"a process that decodes images was ended by {name}: where memory is short, use fewer --workers"
        )
    if first:
        return f"a process that decodes images could not start (exit code {code}): its error is printed above"
    return f"a process that decodes images ended with exit code {code}: its error is printed above"


def _kill(workers: Workers) -> None:
    for process, _ in workers:
        process.kill()  # it holds nothing that would be lost
    for process, receiver in workers:
        process.join()
        receiver.close()


@contextlib.contextmanager
def _signals_held() -> Generator[None, None, None]:
    """Processes started in here never see Ctrl-C or SIGTERM; this one sees them afterwards.

    Both signals reach every process of a terminal or a job. The process that trains has a step to finish,
    and needs its workers for that.
    """
    numbers, arrived = (signal.SIGINT, signal.SIGTERM), set[int]()
    can_block = hasattr(signal, "pthread_sigmask")  # not on Windows
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers) if can_block else set()
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        # The system may deliver the signal to any thread in spite of the mask, and Python then runs the
        # handler in this one, in the middle of starting a worker.
        handlers = {n: signal.signal(n, lambda number, frame: arrived.add(number)) for n in numbers}
    try:
        yield
    finally:
        for held, handler in handlers.items():
            signal.signal(held, handler)
        if can_block:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number in arrived:
            signal.raise_signal(number)


def _work(sender: Connection, work: Work, index: int, count: int) -> None:
    """Sends every ``count``-th batch; after an error, sends the error instead."""
    with contextlib.suppress(BrokenPipeError):  # the parent has gone
        try:
            for batch in _every(work, index, count):
                sender.send(batch)
        except BrokenPipeError:
            raise
        except Exception as error:
            error.add_note(f"In a worker process:\n{traceback.format_exc()}")
            sender.send(error)
    sender.close()
    os._exit(0)  # at once: threads may be at work on batches that nobody wants


def _every(work: Work, index: int, count: int) -> Iterator[dict[str, Any]]:
    import grain

    # Batched before they are divided, or the content of a batch would depend on the number of workers.
    batches = _examples(work).batch(work.batch_size)[index::count]
    # One batch is being sent or is ready to be sent, one is being made.
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=AHEAD - 1)
    return iter(batches.to_iter_dataset(options))
