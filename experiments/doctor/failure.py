"""An error that a check raised, as a finding."""

import traceback
from pathlib import Path

from experiments.doctor.finding import Finding, problem
from jax_resnet.errors import JaxResnetError

__all__ = ["failure"]


def failure(label: str, error: Exception) -> Finding:
    """An error that a check raised, with its place in our code where it is not one for users."""
    text = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, JaxResnetError):
        return problem(label, text, "see the message")
    if "Unable to initialize backend" in text:
        return problem(label, text, "see what is said about devices")
    if isinstance(error, ImportError):
        return problem(
            label, f"{type(error).__name__}: {text}", "install what is missing: see Install in README.md"
        )
    if isinstance(error, OSError):
        return problem(
            label, f"{type(error).__name__}: {text}", "check that the file or folder can be read and written"
        )
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_ours(frame.filename)]
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return problem(label, f"{type(error).__name__}{where}: {text}", "report this with the whole output")


def _is_ours(filename: str) -> bool:
    return bool({"jax_resnet", "experiments", "tests"} & set(Path(filename).parts[:-1]))
