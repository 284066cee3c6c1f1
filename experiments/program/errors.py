"""Errors that a user can act on. Each becomes one line on standard error and an exit code."""

import contextlib
import shlex
import sys
from pathlib import Path

from jax_resnet.errors import JaxResnetError

__all__ = [
    "ConfigError",
    "ExperimentError",
    "Interrupted",
    "LaunchError",
    "Preempted",
    "Terminated",
    "how_to_resume",
    "print_error",
]


class ConfigError(JaxResnetError):
    """An invalid setting; the message names the flag and a valid value."""


class ExperimentError(JaxResnetError):
    """A run that cannot start or continue; the message says why and what helps."""


class Interrupted(JaxResnetError):  # noqa: N818 - nothing went wrong
    """A signal stopped the program where it can go on later; the message says how.

    Attributes:
        number: The signal's number.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


class Preempted(Interrupted):
    """A signal stopped the run after a step; its checkpoint is on disk.

    Attributes:
        step: The step of the checkpoint.
        workdir: The run folder.
    """

    def __init__(self, number: int, step: int, workdir: Path, how: str | None = None) -> None:
        how = how or f"{how_to_resume(workdir)} continues"
        super().__init__(number, f"stopped at step {step}, checkpoint written; {how}")
        self.step, self.workdir = step, workdir


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP where there is nothing to save first: it ends a program the way Ctrl-C does.

    Attributes:
        number: The signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class LaunchError(JaxResnetError):
    """A launched process failed; the message names it, unless the process has printed its error itself.

    Attributes:
        code: The exit code for the shell.
    """

    def __init__(self, code: int, message: str | None) -> None:
        super().__init__(message or "")
        self.code = code


def print_error(message: str) -> None:
    """Prints an error message to standard error, if anybody reads it."""
    with contextlib.suppress(OSError):
        print(f"error: {message}", file=sys.stderr, flush=True)


def how_to_resume(workdir: Path) -> str:
    """The flags that continue a run, for a shell."""
    return f"--resume --workdir {shlex.quote(str(workdir))}"
