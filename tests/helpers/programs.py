"""Programs started in the test's own process, as a shell would start them."""

import contextlib
import signal
import sys

from experiments.program.start import ENDING_SIGNALS, start


@contextlib.contextmanager
def _as_before():
    """Undoes what ``start`` changes for the rest of a process: pytest's own hook tells of unclosed files."""
    hook, numbers = sys.unraisablehook, (signal.SIGINT, *ENDING_SIGNALS)
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in handlers.items():
            signal.signal(number, handler)


def outcome(capfd, main, *args):
    """Runs a program; returns its exit code and what it says on standard error."""
    code = 0
    with _as_before():
        try:
            start(lambda: main([str(arg) for arg in args]))
        except SystemExit as stop:
            code = stop.code
    output = capfd.readouterr()
    assert "Traceback" not in output.err + output.out
    return code, output.err
