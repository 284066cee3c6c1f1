"""How every program here starts, and how it ends when something is wrong. Imports jax only when it runs."""

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from experiments.program.distributed import exit_distributed
from experiments.program.errors import ConfigError, ExperimentError, LaunchError, Preempted, Terminated
from experiments.program.malloc import keep_freed_memory


def start(main: Callable[[], None]) -> None:
    """Runs a program; errors that a user can mend become one line on standard error and a non-zero exit.

    So do Ctrl-C and SIGTERM, on which whatever is open is closed; only a training loop does more.
    """
    signal.signal(signal.SIGTERM, _terminate)
    sys.unraisablehook = _ask_again
    keep_freed_memory()  # before jax is imported, which must therefore happen inside main
    try:
        main()
    except Exception as error:
        code = exit_code(error)
        exit_distributed(error, describe(error), code)
        if code is None:
            raise
        if message := describe(error):
            say(message)
        sys.exit(code)
    except KeyboardInterrupt as error:
        terminated = isinstance(error, Terminated)
        message, code = ("ended by SIGTERM", 143) if terminated else ("interrupted", 130)
        exit_distributed(error, message, code)
        say(message)
        sys.exit(code)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _ask_again(dropped: "sys.UnraisableHookArgs") -> None:
    """Repeats a signal that came where Python drops exceptions, as while it collects garbage."""
    if not isinstance(dropped.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(dropped)
        return
    number = signal.SIGTERM if isinstance(dropped.exc_value, Terminated) else signal.SIGINT
    main = threading.main_thread().ident
    threading.Timer(0.01, signal.pthread_kill, [main, number]).start()


def exit_code(error: Exception) -> int | None:
    """What the shell is told; None for an error that is a defect of the program."""
    from jax_resnet.checkpoint import CheckpointError
    from jax_resnet.data import DataError

    if isinstance(error, ConfigError):
        return 2
    if isinstance(error, LaunchError):
        return error.code
    if isinstance(error, Preempted):
        return 128 + error.number
    if isinstance(error, DataError | CheckpointError | ExperimentError | OSError):
        return 1
    return None


def describe(error: Exception) -> str:
    """The error in a line; for one of the operating system, with the file."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def say(message: str) -> None:
    """Prints an error for a person."""
    print(f"error: {message}", file=sys.stderr)
