"""Which of a run's checkpoints are kept."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["LastTwoAndBest", "best"]


def best(accuracies: Mapping[int, float], among: Iterable[int] | None = None) -> int | None:
    """The step of highest accuracy, the earliest of equals; None if no step has one."""
    # The earliest, so that the choice does not depend on what has been deleted since.
    steps = accuracies if among is None else [step for step in among if step in accuracies]
    return max(steps, key=lambda step: (accuracies[step], -step), default=None)


class LastTwoAndBest:
    """Keeps the last two checkpoints and the best one.

    orbax's own policy would trust what it reads from the files; this one is given the accuracies.

    Args:
        accuracies: Validation accuracy by step; it may change later.
    """

    def __init__(self, accuracies: Mapping[int, float]) -> None:
        self._accuracies = accuracies

    def keep(self, steps: Sequence[int]) -> set[int]:
        """Those of ascending ``steps`` that are kept."""
        highest = best(self._accuracies, among=steps)
        return {*steps[-2:], *(() if highest is None else (highest,))}

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Whether each checkpoint is kept: what orbax asks a policy."""
        kept = self.keep(sorted(info.step for info in checkpoints))
        return [info.step in kept for info in checkpoints]
