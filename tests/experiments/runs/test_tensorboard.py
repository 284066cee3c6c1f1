"""TensorBoard's events on a disk that is full."""

import gc
import os

import pytest

from experiments.runs.tensorboard import TensorBoard
from tests.helpers.run_folders import record


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk_is_no_error_at_the_end_nor_after(tmp_path):
    board = TensorBoard(tmp_path)
    board.log(record("train", 1))
    (writer,) = board._writers.values()
    writer._py_recordio_writer._writer.close()
    writer._py_recordio_writer._writer = open("/dev/full", "wb")  # noqa: SIM115 - the board closes it
    board.log(record("train", 2))
    board.close()
    del board, writer
    gc.collect()  # pytest fails on an exception that is ignored here
