"""Pictures of a run."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from experiments.runs.folder import WATCHED

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

NAMES = {"train": "training, augmented", "val": "validation", "test": "test, watched only"}


def curves(records: Iterable[dict[str, Any]], title: str, path: Path) -> None:
    """Draws loss and accuracy against epochs, of training, validation and a watched test set, as a PNG."""
    by_kind = defaultdict(list)
    for record in records:
        if record.get("which", WATCHED) == WATCHED:  # the tests at the end are no curve
            by_kind[record["kind"]].append(record)
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axis, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        for kind, name in NAMES.items():
            _draw(axis, by_kind[kind], quantity, name, dots=kind != "train")
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 2, 5, 10]))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("cross-entropy (nats)")
    axes[1].set_ylabel("accuracy (%)")
    axes[1].set_ylim(0, 100)
    if axes[0].lines:
        axes[1].legend(loc="lower right", frameon=False)
    figure.suptitle(title)
    draft = path.with_name(f".{path.name}")
    figure.savefig(draft, dpi=120, format="png")
    plt.close(figure)
    draft.replace(path)


def _draw(axis: Axes, records: list[dict[str, Any]], quantity: str, name: str, *, dots: bool) -> None:
    if not records:
        return
    scale = 100 if quantity == "accuracy" else 1
    epochs = [record["epoch"] for record in records]
    values = [scale * record[quantity] for record in records]
    axis.plot(epochs, values, marker="o" if dots else None, markersize=4, label=name)


def confusion(counts: np.ndarray, class_names: Sequence[str], title: str, path: Path) -> None:
    """Draws a confusion matrix, rows the truth and columns the prediction, as a PNG."""
    classes = len(class_names)
    size = max(5.0, min(0.62 * classes, 24.0))
    figure, axis = plt.subplots(figsize=(size + 1.5, size), layout="constrained")
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    picture = axis.imshow(share, cmap="Blues", vmin=0, vmax=100)
    if classes <= 20:  # more would not be readable
        for (row, column), count in np.ndenumerate(counts):
            if count:
                color = "white" if share[row, column] > 50 else "black"
                axis.text(column, row, str(count), ha="center", va="center", color=color, fontsize=8)
    axis.set_xticks(range(classes), class_names, rotation=90, fontsize=8)
    axis.set_yticks(range(classes), class_names, fontsize=8)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    axis.set_title(title, fontsize=10)
    figure.colorbar(picture, label="share of the true class (%)", shrink=0.8)
    draft = path.with_name(f".{path.name}")
    figure.savefig(draft, dpi=120, format="png")
    plt.close(figure)
    draft.replace(path)
