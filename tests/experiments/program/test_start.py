"""How programs end on signals."""

import signal

import pytest

# The signal comes while garbage is collected: what a callback of the collector raises is dropped.
PROGRAM = """
import gc, signal, sys, time
from experiments.program.start import start

def callback(phase, info):
    if phase == "start":
        gc.callbacks.remove(callback)
        signal.raise_signal({number})

def main():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    gc.callbacks.append(callback)
    gc.collect()
    time.sleep(30)

start(main)
"""


@pytest.mark.parametrize(
    ("number", "message"), [(signal.SIGTERM, "ended by SIGTERM"), (signal.SIGINT, "interrupted")]
)
def test_a_signal_that_comes_while_garbage_is_collected_ends_the_program(start, tmp_path, number, message):
    (tmp_path / "program.py").write_text(PROGRAM.format(number=int(number)))
    run = start(tmp_path / "program.py", module=None)
    _, error = run.communicate(timeout=60)
    assert error == f"error: {message}\n"
    assert run.returncode == 128 + number


# As an extension module does that is being imported when the signal comes.
IMPORT = """
import signal
from experiments.program.start import start

def main():
    try:
        signal.raise_signal({number})
    except KeyboardInterrupt as error:
        raise ImportError("initialization failed") from error

start(main)
"""


@pytest.mark.parametrize(
    ("number", "message"), [(signal.SIGTERM, "ended by SIGTERM"), (signal.SIGINT, "interrupted")]
)
def test_a_signal_that_a_library_makes_an_error_of_is_still_a_signal(start, tmp_path, number, message):
    code = IMPORT.format(number=int(number)).replace(
        "start(main)", "signal.signal(signal.SIGINT, signal.default_int_handler)\nstart(main)"
    )
    (tmp_path / "program.py").write_text(code)
    run = start(tmp_path / "program.py", module=None)
    _, error = run.communicate(timeout=60)
    assert error == f"error: {message}\n"
    assert run.returncode == 128 + number


def test_an_error_without_a_signal_is_a_defect_with_its_traceback(start, tmp_path):
    defect = "def main():\n    raise ImportError('no such thing')\n\nstart(main)\n"
    (tmp_path / "program.py").write_text(f"from experiments.program.start import start\n\n{defect}")
    run = start(tmp_path / "program.py", module=None)
    _, error = run.communicate(timeout=60)
    assert "Traceback" in error
    assert "no such thing" in error
    assert run.returncode == 1
