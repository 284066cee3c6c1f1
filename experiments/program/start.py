"""How every program here starts, and how it ends after an error or a signal. Imports no jax."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from experiments.program.compiled import close_compiled
from experiments.program.distributed import exit_distributed
from experiments.program.errors import ConfigError, Interrupted, LaunchError, Terminated, print_error
from experiments.program.launcher import end_with_launcher
from experiments.program.packages import why_not_imported
from jax_resnet._cli import quiet_on_closed_pipe
from jax_resnet._files import REASONS
from jax_resnet._malloc import keep_freed_memory
from jax_resnet.errors import JaxResnetError

__all__ = ["ENDING_SIGNALS", "announce", "describe", "exit_code", "start"]

# Characters of an error about a setting.
LONGEST = 1000
# Signals that ask a program to end; a closed terminal sends SIGHUP, which Windows does not have.
ENDING_SIGNALS: tuple[int, ...] = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)

_received: list[int] = []  # the signals that have asked this program to end


def start(main: Callable[[], None]) -> None:
    """Runs a program: errors that a user can act on become one line on standard error and an exit code.

    So do Ctrl-C, SIGTERM and SIGHUP, which close whatever is open; only a training loop does more. Output to
    a closed pipe ends the program quietly.
    """
    for number in ENDING_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _terminate)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    sys.unraisablehook = _repeat_signal
    end_with_launcher()
    keep_freed_memory()  # before jax is imported, which must therefore happen inside main
    try:
        with quiet_on_closed_pipe():
            main()
    except Exception as error:
        _end_at_once_from_now_on()
        code = exit_code(error)
        if code is None and _received:  # a library has made another error of it, as while it was imported
            _end_by_signal(_received[-1], error)
        exit_distributed(error, describe(error), code)
        if code is None:
            raise
        if message := describe(error):
            print_error(message)
        if isinstance(error, Interrupted):
            _leave(code)
        sys.exit(code)
    except KeyboardInterrupt as error:
        _end_at_once_from_now_on()
        _end_by_signal(error.number if isinstance(error, Terminated) else signal.SIGINT, error)


def _end_by_signal(number: int, error: BaseException) -> NoReturn:
    message = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    exit_distributed(error, message, 128 + number)
    print_error(message)
    _leave(128 + number)


def _leave(code: int) -> NoReturn:
    """Ends the process without the end of the interpreter.

    A signal comes at any time: threads of XLA and tensorstore may be at work, and crash when the interpreter
    that they call back is gone. All that is open has been closed by the exception on its way here.
    """
    close_compiled()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or nobody reads
            stream.flush()
    os._exit(code)


def _terminate(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    raise Terminated(number)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    raise KeyboardInterrupt


def _end_at_once_from_now_on() -> None:
    """Makes signals end the process without a traceback while it is on its way to its end."""
    for number in (signal.SIGINT, *ENDING_SIGNALS):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, frame: os._exit(128 + number))


def _repeat_signal(dropped: "sys.UnraisableHookArgs") -> None:
    """Repeats a signal that came where Python drops exceptions, as during garbage collection."""
    if not isinstance(dropped.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(dropped)
        return
    number = dropped.exc_value.number if isinstance(dropped.exc_value, Terminated) else signal.SIGINT
    main = threading.main_thread().ident
    threading.Timer(0.01, signal.pthread_kill, [main, number]).start()


def exit_code(error: Exception) -> int | None:
    """The exit code for the shell; None for an error that is a defect of the program."""
    if isinstance(error, ConfigError):
        return 2
    if isinstance(error, LaunchError):
        return error.code
    if isinstance(error, Interrupted):
        return 128 + error.number
    if isinstance(error, JaxResnetError | OSError):
        return 1
    if isinstance(error, ModuleNotFoundError) and why_not_imported(error):
        return 1
    return None


def describe(error: Exception) -> str:
    """The error in one line; for an error of the operating system, with the file and what to do."""
    if isinstance(error, OSError) and error.strerror:
        reason = REASONS.get(error.errno or 0, error.strerror)
        return f"{error.filename}: {reason}" if error.filename else reason
    if isinstance(error, ModuleNotFoundError):
        return why_not_imported(error)
    if isinstance(error, ConfigError):  # repeats what was typed, which may be anything
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(error))
        return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 4 :]}"
    return str(error)


def announce(process_id: int | None, text: str) -> None:
    """Prints the first line of a program, before the slow imports; of several processes the first does."""
    if not process_id:
        print(text, flush=True)
