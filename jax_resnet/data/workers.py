"""Runs a function of numbers in grain's threads or worker processes, and batches what comes, in order."""

import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from multiprocessing import resource_tracker, util
from typing import Any

from .batches import Batches
from .dataset import DataError

MISSING = "streamed data needs grain, which is not installed: pip install 'jax-resnet[stream]'"
# Batches that a worker has ready: one to hand over, one for when a batch takes longer.
AHEAD = 2


def run(
    load: Callable[[int], dict[str, Any]], start: int, stop: int, batch_size: int, workers: int
) -> Batches:
    """Batches of what ``load`` makes of ``start, start + 1, ...``, the same however it is computed.

    Args:
        load: From a number to an example: arrays and NumPy scalars by name.
        start: The first number.
        stop: The end.
        batch_size: Examples a batch.
        workers: Processes that make whole batches in turn; 0 for threads of this process, one a core.

    Raises:
        DataError: grain is not installed, a worker was killed; and whatever ``load`` raises.
    """
    try:
        import grain
        from absl import flags
    except ImportError as error:
        raise DataError(MISSING) from error
    if not flags.FLAGS.is_parsed():  # grain reads some with their defaults, which absl allows only then
        flags.FLAGS.mark_as_parsed()
    examples = grain.MapDataset.range(start, stop).map(load)
    if workers:
        # Batched before the workers share them out, or what is in a batch would hang on their number.
        batches = examples.batch(batch_size).to_iter_dataset(
            grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
        )
        # Through pipes: containers have little shared memory, and whoever is stopped leaves some behind.
        options = grain.experimental.DatasetOptions(min_shm_size=sys.maxsize)
        pipeline = grain.experimental.WithOptionsIterDataset(batches, options).mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=AHEAD),
            worker_init_fn=_start_worker,
        )
    else:
        threads = len(os.sched_getaffinity(0))
        options = grain.ReadOptions(
            num_threads=threads, prefetch_buffer_size=max(AHEAD * batch_size, threads)
        )
        pipeline = examples.to_iter_dataset(options).batch(batch_size)
    return _iterate(pipeline, starting=max(workers, 1))


def _iterate(pipeline: Any, starting: int) -> Batches:
    # It would be started with the first worker, and let signals through to that one.
    resource_tracker.ensure_running()
    iterator = iter(pipeline)
    try:
        for number in itertools.count():
            # A worker is started when its turn comes for the first time, at the latest.
            with _signals_held() if number < starting else contextlib.nullcontext():
                batch = next(iterator, None)
            if batch is None:
                return
            yield batch
    except RuntimeError as error:
        if "Worker process was terminated" not in str(error):
            raise
        raise DataError(
            f"a process that decodes pictures was killed ({error}): where memory is short, use fewer "
            "--workers"
        ) from error
    finally:
        iterator.close()


@contextlib.contextmanager
def _signals_held() -> Generator[None, None, None]:
    """Threads and processes started in here never see Ctrl-C or SIGTERM; this thread sees them afterwards.

    Both reach every process of a terminal or a job. The one that trains has a step to finish, and for that
    it needs its workers.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(index: int, count: int) -> None:
    """Ties the worker's life to that of the process that started it, and lets it end at once."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True, name="follow-parent").start()
    # Else it would wait until a batch that nobody wants any more has gone through the pipe.
    util.Finalize(None, _leave, exitpriority=100)


def _leave() -> None:
    time.sleep(0.2)  # for an error still on its way
    os._exit(1)
