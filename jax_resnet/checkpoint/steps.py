"""The step folders of a run: which are complete, which is the best."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

CHECKPOINTS = "checkpoints"


def complete_steps(folder: Path) -> list[int]:
    """Steps of the checkpoints in ``folder`` that were written to the end, ascending."""
    folders = [step for step in folder.iterdir() if step.name.isdigit()]
    return sorted(int(step.name) for step in folders if ocp.utils.is_checkpoint_finalized(step))


def rank(metrics: Mapping[str, Any]) -> tuple[float, int]:
    """Sorts checkpoints by validation accuracy."""
    # Of equals the earliest, so that the choice does not hang on what has been deleted since.
    return metrics["accuracy"], -metrics["step"]


def orbax_message(error: Exception) -> str:
    """The first line of what orbax or tensorstore raised, with its class."""
    return f"{type(error).__name__}: {error}".split(" See full")[0].splitlines()[0][:300]
