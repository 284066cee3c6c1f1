"""Pictures of a run."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

NAMES = {"train": "training, augmented", "val": "validation"}


def curves(records: Iterable[dict[str, Any]], title: str, path: Path) -> None:
    """Draws loss and accuracy against epochs, of training and validation, as a PNG."""
    by_kind = defaultdict(list)
    for record in records:
        by_kind[record["kind"]].append(record)
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axis, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        for kind, name in NAMES.items():
            _draw(axis, by_kind[kind], quantity, name, dots=kind == "val")
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
