"""What can go wrong in words a user can act on. Each becomes one line and an exit code."""

from pathlib import Path


class ConfigError(Exception):
    """A setting that cannot be; the message says what it is and what would do."""


class ExperimentError(Exception):
    """A run that cannot start or go on; the message says why and what would do."""


class Preempted(Exception):  # noqa: N818 - it is no error
    """A signal stopped the run after a step; all of it is on disk."""

    def __init__(self, number: int, step: int, workdir: Path, how: str | None = None) -> None:
        """Remembers the signal's number, and says how to go on."""
        how = how or f"--resume --workdir {workdir} goes on"
        super().__init__(f"stopped at step {step}, checkpoint written; {how}")
        self.number, self.step, self.workdir = number, step, workdir


class Terminated(KeyboardInterrupt):
    """SIGTERM where there is nothing to save first: it ends a program the way Ctrl-C does."""


class LaunchError(Exception):
    """A launched process failed; the message says which and how, unless the process has said so itself."""

    def __init__(self, code: int, message: str | None) -> None:
        """Remembers the exit code."""
        super().__init__(message or "")
        self.code = code
