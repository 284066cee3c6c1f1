import contextlib
import dataclasses
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jax_resnet.data import DataError
from jax_resnet.data.order import epoch_order
from jax_resnet.data.splits import hold_out
from jax_resnet.data.streaming.dataset import open_streamed
from jax_resnet.data.streaming.transforms import center_crop
from tests.helpers.processes import alive, wait_until

pytest.importorskip("grain", reason="streaming needs grain")

TRAIN, VAL, SIZE = 60, 18, 24  # of the folder of images


@pytest.fixture(scope="module")
def dataset(image_folder):
    return open_streamed("folder", image_folder, image_size=SIZE, workers=0)


def take(split, count, batch_size=16, **options):
    with closing(split.train_batches(batch_size, **options)) as batches:
        return list(islice(batches, count))


def assert_equal(some, others):
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert one[name].dtype == other[name].dtype
            np.testing.assert_array_equal(one[name], other[name])


def join(shares):
    """What several processes see of the same batches, put together."""
    return [
        {name: np.concatenate([share[name] for share in batch]) for name in batch[0]}
        for batch in zip(*shares, strict=True)
    ]


def test_the_order_is_that_of_data_in_memory(dataset):
    batches = take(dataset.train, 6, seed=3)
    for step, batch in enumerate(batches):
        epoch, place = divmod(step, TRAIN // 16)
        expected = epoch_order(TRAIN, 3, epoch)[16 * place : 16 * place + 16]
        np.testing.assert_array_equal(batch["index"], expected)
        np.testing.assert_array_equal(batch["label"], dataset.train.labels[expected])
        assert batch["image"].dtype == np.uint8
        assert batch["image"].shape == (16, SIZE, SIZE, 3)
        assert batch["label"].dtype == batch["index"].dtype == np.int32


def test_a_image_is_cut_anew_every_time_and_otherwise_for_another_seed(dataset):
    whole = take(dataset.train, 2, TRAIN, seed=0)
    first, second = (batch["image"][np.argsort(batch["index"])] for batch in whole)
    assert (first != second).any((1, 2, 3)).all()
    other = take(dataset.train, 1, TRAIN, seed=1)[0]
    assert (other["image"][np.argsort(other["index"])] != first).any((1, 2, 3)).all()


def test_batches_continue_from_any_step_bit_for_bit(dataset):
    whole = take(dataset.train, 9, seed=5)
    for start in (1, 3, 4, 8):  # an epoch has three
        assert_equal(whole[start:], take(dataset.train, 9 - start, seed=5, start=start))


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_a_batch_and_the_pixels_in_it(dataset, count):
    whole = take(dataset.train, 4, seed=0, start=2)
    shares = [take(dataset.train, 4, seed=0, start=2, shard=(i, count)) for i in range(count)]
    assert_equal(whole, join(shares))


@pytest.mark.slow
def test_workers_change_nothing_wherever_a_run_is_stopped_and_resumed(dataset):
    whole = take(dataset.train, 7, seed=1)
    two = dataclasses.replace(dataset.train, workers=2)
    assert_equal(whole[:4], take(two, 4, seed=1))
    one = dataclasses.replace(dataset.train, workers=1)
    assert_equal(whole[4:], take(one, 3, seed=1, start=4))
    resumed_by_two = [take(split, 3, seed=1, start=4, shard=(i, 2)) for i, split in enumerate((two, one))]
    assert_equal(whole[4:], join(resumed_by_two))


@pytest.mark.parametrize("batch_size", [5, 18, 40])
@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_shows_every_image_once_and_its_middle(dataset, batch_size, workers):
    if workers and batch_size != 5:
        pytest.skip("once is enough with workers")
    split = dataclasses.replace(dataset.test, workers=workers)
    with closing(split.eval_batches(batch_size)) as iterator:
        batches = list(iterator)
    assert {len(batch["label"]) for batch in batches} == {batch_size}
    mask = np.concatenate([batch["mask"] for batch in batches])
    assert mask.dtype == bool
    assert mask.sum() == VAL
    index = np.concatenate([batch["index"] for batch in batches])
    np.testing.assert_array_equal(index[mask], np.arange(VAL))
    images = np.concatenate([batch["image"] for batch in batches])[mask]
    labels = np.concatenate([batch["label"] for batch in batches])[mask]
    np.testing.assert_array_equal(labels, split.labels)
    for i in (0, 7, 17):
        with Image.open(split.source.name(i)) as photo:
            np.testing.assert_array_equal(images[i], center_crop(photo.convert("RGB"), SIZE))
    np.testing.assert_array_equal(images[[17, 2]], split.images_at([17, 2]))


def test_processes_share_an_evaluation(dataset):
    whole = list(dataset.test.eval_batches(8))
    assert_equal(whole, join([list(dataset.test.eval_batches(8, shard=(i, 4))) for i in range(4)]))


def test_a_held_out_set_is_streamed_too(dataset):
    rest, val = hold_out(dataset.train, 10, seed=0)
    np.testing.assert_array_equal(np.bincount(val.labels), [5, 5])
    np.testing.assert_array_equal(np.sort(np.concatenate([rest.index, val.index])), np.arange(TRAIN))
    batch = next(iter(val.eval_batches(10)))
    np.testing.assert_array_equal(batch["image"], dataset.train.images_at(val.index))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_cannot_be_read_is_named(image_folder, tmp_path, workers):
    root = tmp_path / "image_folder"
    shutil.copytree(image_folder, root)
    broken = root / "train" / "flower" / "004.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    split = open_streamed("folder", root, image_size=SIZE, workers=workers).train
    with pytest.raises(
        DataError, match=r"flower/004\.jpg cannot be read \(.*\): replace it, or take it away"
    ):
        take(split, 4, 15, seed=0)


@pytest.mark.parametrize(("batch_size", "shard"), [(61, (0, 1)), (0, (0, 1)), (9, (0, 2))])
def test_a_batch_that_cannot_be_is_refused(dataset, batch_size, shard):
    with pytest.raises(ValueError, match=r"a batch (holds 1 to 60|of 9 cannot be shared equally)"):
        next(dataset.train.train_batches(batch_size, seed=0, shard=shard))


def test_without_grain_the_extra_is_named(dataset, monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(DataError, match=r"grain, which is not installed: pip install -e '\.\[stream\]'"):
        next(dataset.train.train_batches(4, seed=0))


def test_importing_the_data_package_stays_cheap():
    heavy = "{'jax', 'grain', 'PIL', 'tensorflow_datasets'}"
    code = f"import sys, jax_resnet.data; print({heavy} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"


@dataclasses.dataclass(frozen=True, eq=False)
class Witness:
    """A source whose labels tell of the process that reads them: 1 where jax has touched a device."""

    source: object
    labels = None

    def __len__(self):
        return len(self.source)

    def name(self, index):
        return self.source.name(index)

    def read(self, index):
        from jax._src import xla_bridge

        return self.source.read(index)[0], int(xla_bridge.backends_are_initialized())


def test_workers_leave_the_devices_alone(dataset):
    import jax

    jax.devices()
    threads = dataclasses.replace(dataset.train, source=Witness(dataset.train.source))
    assert take(threads, 1, seed=0)[0]["label"].all()
    processes = dataclasses.replace(threads, workers=1)
    assert not take(processes, 1, seed=0)[0]["label"].any()


def test_a_killed_worker_is_named_and_nobody_waits_for_what_is_half_sent(dataset):
    # A batch is many times what a pipe holds: both workers are soon in the midst of sending one.
    split = dataclasses.replace(dataset.train, workers=2, image_size=128)
    before = set(multiprocessing.active_children())
    with closing(split.train_batches(16, seed=0)) as batches:
        next(batches)
        time.sleep(1)
        workers = set(multiprocessing.active_children()) - before
        assert len(workers) == 2
        workers.pop().kill()
        with pytest.raises(DataError, match=r"decodes images was ended by SIGKILL: .* fewer --workers"):
            list(islice(batches, 4))
    assert not set(multiprocessing.active_children()) - before


# Started as the programs are: JAX calls Python during garbage collection, and a KeyboardInterrupt raised
# there is dropped: without `start` 6 of 259 such scripts streamed on after Ctrl-C, and seemed to hang.
STREAM_FOREVER = """
import multiprocessing, sys
from pathlib import Path
from experiments.program.start import start
from jax_resnet.data.streaming.dataset import open_streamed

def main():
    split = open_streamed("folder", Path(sys.argv[1]), image_size=24, workers=2).train
    for step, _ in enumerate(split.train_batches(8, seed=0)):
        if step == 2:
            print(*(child.pid for child in multiprocessing.active_children()), flush=True)

if __name__ == "__main__":
    start(main)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.slow
def test_no_worker_outlives_the_process_it_works_for(image_folder, tmp_path, number):
    script = tmp_path / "stream.py"
    script.write_text(STREAM_FOREVER)
    process = subprocess.Popen(
        [sys.executable, script, image_folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    try:
        workers = [int(pid) for pid in process.stdout.readline().split()]
        assert len(workers) == 2
        # Ctrl-C reaches the whole group; a kill one process.
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, error = process.communicate(timeout=60)
        assert wait_until(lambda: not any(map(alive, workers)))
    finally:  # a failure must not leave them to run for ever
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    if number == signal.SIGINT:
        assert error == "error: interrupted\n"  # its own: workers say nothing
        assert process.returncode == 130


def test_a_signal_while_workers_start_waits_until_they_have(dataset, monkeypatch):
    # Any thread may be given a signal, and Python runs its handler in this one whatever this one blocks.
    started, heard = [], []
    begin = multiprocessing.get_context("spawn").Process.start

    def slow_start(process):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)
        begin(process)
        started.append(process)
        assert not heard

    previous = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(len(started)))
    lets_signals_in = threading.Thread(target=time.sleep, args=(5,), daemon=True)
    lets_signals_in.start()
    monkeypatch.setattr(multiprocessing.get_context("spawn").Process, "start", slow_start)
    try:
        take(dataclasses.replace(dataset.train, workers=2), 2, seed=0)
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert heard[0] == 2


def run_script(folder, code, image_folder):
    script = folder / "script.py"
    script.write_text(code)
    return subprocess.run(
        [sys.executable, script, image_folder],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )


UNGUARDED = """
import sys
from pathlib import Path
from jax_resnet.data.streaming.dataset import open_streamed

split = open_streamed("folder", Path(sys.argv[1]), image_size=24, workers=2).train
next(split.train_batches(8, seed=0))
"""


def test_a_program_without_a_main_guard_reads_it_in_the_last_line(image_folder, tmp_path):
    done = run_script(tmp_path, UNGUARDED, image_folder)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert 'put what it runs under if __name__ == "__main__":' in last
    assert "memory" not in done.stderr
    assert done.stderr.count("Traceback (most recent call last)") <= 2  # the error and its cause, once


def test_a_worker_that_cannot_import_the_program_is_named(image_folder, tmp_path):
    code = """
import multiprocessing, sys
if multiprocessing.current_process().name != "MainProcess":
    raise RuntimeError("only the first may import this")
if __name__ == "__main__":
"""
    code += "".join(f"    {line}\n" for line in UNGUARDED.strip().splitlines())
    done = run_script(tmp_path, code, image_folder)
    assert "could not start (exit code 1): its error is printed above" in done.stderr.strip().splitlines()[-1]
    assert "only the first may import this" in done.stderr


STREAM_PORTABLY = """
import os, signal, sys
from pathlib import Path

if hasattr(os, "sched_getaffinity"):
    del os.sched_getaffinity
if hasattr(signal, "pthread_sigmask"):
    del signal.pthread_sigmask
from jax_resnet.data.streaming.dataset import open_streamed

if __name__ == "__main__":
    for workers in (0, 1):
        split = open_streamed("folder", Path(sys.argv[1]), image_size=24, workers=workers).train
        print(next(split.train_batches(8, seed=0))["image"].shape)
"""


def test_streaming_needs_nothing_that_only_linux_has(image_folder, tmp_path):
    done = run_script(tmp_path, STREAM_PORTABLY, image_folder)
    assert done.stdout.splitlines() == ["(8, 24, 24, 3)"] * 2, done.stderr
