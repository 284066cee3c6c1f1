"""What orbax raises is not printed a second time; what others drop still is."""

import gc
import sys
import warnings

import pytest

from jax_resnet.checkpoint import quiet

READER = """
class Pending:
    def __await__(self):
        yield

async def read():
    try:
        await Pending()
    except BaseException as error:
        raise Exception("error while reading array") from error
"""


@pytest.fixture
def printed(monkeypatch):
    """What reaches the hook that ours wraps."""
    reported = []
    monkeypatch.setattr(sys, "unraisablehook", reported.append)
    quiet.quiet_orbax()
    quiet.quiet_orbax()
    return reported


def abandon(file):
    """Begins to read in a coroutine of ``file`` and drops it."""
    names = {}
    exec(compile(READER, file, "exec"), names)
    coroutine = names["read"]()
    coroutine.send(None)
    del coroutine


def test_an_array_that_nobody_waits_for_any_more_is_not_printed(printed):
    abandon("/site-packages/orbax/checkpoint/_src/serialization/serialization.py")
    assert not printed


def test_an_array_that_nobody_has_waited_for_is_no_warning(printed):
    names = {}
    file = "/site-packages/orbax/checkpoint/_src/serialization/jax_array_handlers.py"
    exec(compile("class ArrayHandler:\n    async def metadata(self):\n        pass\n", file, "exec"), names)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        quiet.quiet_orbax()
        del_soon = names["ArrayHandler"]().metadata()
        del del_soon
        gc.collect()
    assert not shown
    assert not printed


def test_other_dropped_coroutines_are_printed(printed):
    abandon("/home/user/reader.py")
    assert len(printed) == 1
