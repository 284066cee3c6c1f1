"""Checks that go wrong."""

import ctypes
import os
import sys
import time

from experiments.doctor.finding import note, ok, problem
from jax_resnet.errors import DataError


def fine(config):
    yield ok("fine", "works", number=1)


def raises(config):
    yield ok("raises", "first")
    raise ValueError("first line\nsecond line")


def raises_ours(config):
    raise DataError("the data set is damaged")
    yield


def no_disk(config):
    raise OSError(28, "No space left on device", "/somewhere")
    yield


def crashes(config):
    yield note("crashes", "first")
    print("F0000 the last words", file=sys.stderr, flush=True)
    ctypes.string_at(0)
    yield problem("crashes", "survived", "")


def exits(config):
    yield from ()
    os._exit(3)


def hangs(config):
    yield ok("hangs", "first")
    time.sleep(600)


def prints(config):
    print("{}")
    os.write(1, b"not an answer\n")
    yield ok("prints", "works")
