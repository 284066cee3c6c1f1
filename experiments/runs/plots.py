"""Figures of one run: its curves, and confusion matrices."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from experiments.runs.curves import NetworkCurves, save_curves
from experiments.runs.figure_style import drawable_labels, drawable_title, figure_style, save_figure
from experiments.runs.series import Records

__all__ = ["plot_confusion", "plot_curves"]

MAX_COUNTED = 20  # Classes of a matrix whose cells have numbers.
MAX_NAMED = 200  # Classes of a matrix whose rows have names.


def plot_curves(records: Records, title: str, path: Path) -> list[str]:
    """Draws a run's error and loss against epochs: training, validation, and the test set.

    Args:
        records: The run's valid records.
        title: The heading.
        path: The PNG to write.

    Returns:
        Notes for people on what could not be drawn.
    """
    return save_curves([NetworkCurves(title, [records])], "", [path])


def plot_confusion(counts: np.ndarray, class_names: Sequence[str], title: str, path: Path) -> list[str]:
    """Draws a confusion matrix.

    Args:
        counts: int, ``(classes, classes)``: rows are true classes, columns predictions.
        class_names: The name of each class, in any script; they are drawn literally.
        title: The heading.
        path: The PNG to write.

    Returns:
        Notes for people on names that could not be drawn.
    """
    classes = len(class_names)
    labels = drawable_labels(class_names, limit=30)
    heading, heading_fonts = drawable_title(title)
    size = max(5.0, min(0.62 * classes, 24.0))
    fractions = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    fonts = list(dict.fromkeys([*labels.fonts, *heading_fonts]))
    changes = {"axes.spines.right": True, "axes.spines.top": True}
    with figure_style(fonts, changes):
        figure, axis = plt.subplots(figsize=(size + 1.5, size), layout="constrained")
        image = axis.imshow(fractions, cmap="Blues", vmin=0, vmax=100)
        if classes <= MAX_COUNTED:
            for (row, column), count in np.ndenumerate(counts):
                if count:
                    color = "white" if fractions[row, column] > 50 else "black"
                    axis.text(column, row, str(count), ha="center", va="center", color=color, fontsize=8)
        if classes <= MAX_NAMED:
            axis.set_xticks(range(classes), labels.texts, rotation=90, fontsize=8)
            axis.set_yticks(range(classes), labels.texts, fontsize=8)
        axis.set_xlabel("predicted")
        axis.set_ylabel("true")
        axis.set_title(heading, fontsize=10)
        figure.colorbar(image, label="percent of the true class", shrink=0.8)
        save_figure(figure, [path])
    return labels.notes
