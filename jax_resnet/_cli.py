"""How the commands of this package read flags and end: one line per error, quiet on a closed pipe."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from jax_resnet._text import did_you_mean

__all__ = ["CLOSED_PIPE", "FlagParser", "UsageError", "quiet_on_closed_pipe", "run_command"]

# What a shell reports for a program that SIGPIPE ends, 128 + 13.
CLOSED_PIPE = 141


class UsageError(Exception):
    """Invalid flags; the message says in one line what is wrong."""


class FlagParser(argparse.ArgumentParser):
    """An ``ArgumentParser`` that raises ``UsageError`` instead of printing its usage and exiting."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def parse_flags(self, args: Sequence[str] | None) -> argparse.Namespace:
        """Parses ``args``, by default those of the process.

        Raises:
            UsageError: A flag does not exist or a value is invalid.
        """
        known, unknown = self.parse_known_args(args)
        if unknown:
            flag = unknown[0].split("=")[0]
            hint = did_you_mean(flag, self._option_string_actions, count=1)
            self.error(f"unrecognized argument {flag}" + (f": {hint}" if hint else ""))
        return known

    def error(self, message: str) -> NoReturn:
        """Raises ``UsageError``."""
        raise UsageError(f"{message} (--help lists the flags)")


def _prepare_streams() -> None:
    """Makes closed streams swallow output, and escapes what a stream cannot encode.

    The name of a file is no reason to lose what was computed.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the process ends
        elif stream.errors == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def quiet_on_closed_pipe() -> Iterator[None]:
    """Ends the process without a traceback when nobody reads its output any more, as with ``| head -1``."""
    _prepare_streams()
    try:
        try:
            yield
        except SystemExit:
            sys.stdout.flush()
            raise
        else:
            sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes standard output once more at exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(CLOSED_PIPE)


def run_command(main: Callable[[], int]) -> NoReturn:
    """Runs a command and exits with its status; with 130 after Ctrl-C, quietly after a closed pipe."""
    with quiet_on_closed_pipe():
        try:
            sys.exit(main())
        except KeyboardInterrupt:
            print("error: interrupted", file=sys.stderr)
            sys.exit(130)
