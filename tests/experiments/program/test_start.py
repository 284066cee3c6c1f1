"""How programs end on signals."""

import os
import signal
import subprocess
import sys

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


@pytest.mark.parametrize(
    ("package", "message"),
    [
        ("no_such_package", "error: the package no_such_package is not installed: pip install"),
        ("jax_resnet.no_such_module", "Traceback"),
    ],
)
def test_a_package_that_is_not_installed_is_one_line(start, tmp_path, package, message):
    program = (
        f"from experiments.program.start import start\n\ndef main():\n    import {package}\n\nstart(main)\n"
    )
    (tmp_path / "program.py").write_text(program)
    run = start(tmp_path / "program.py", module=None)
    _, error = run.communicate(timeout=60)
    assert error.startswith(message)
    assert run.returncode == 1


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-"])
def test_closed_streams_are_no_error(closed):
    program = "from experiments.program.start import start; start(lambda: print('done'))"
    command = ["sh", "-c", f'"$0" -c "{program}" {closed}', sys.executable]
    done = subprocess.run(command, timeout=60, check=False)
    assert done.returncode == 0


def test_characters_that_the_streams_encoding_lacks_are_escaped():
    program = "from experiments.program.start import start; start(lambda: print('caf\\udce9', chr(26085)))"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=True)
    assert done.stdout == b"caf\\udce9 \\u65e5\n"
