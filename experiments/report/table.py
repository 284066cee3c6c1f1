"""The numbers of a report, a row for runs that differ only by seed."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from experiments.program.console import format_duration
from experiments.report.groups import MISSING, Group
from experiments.report.runs import Run


@dataclasses.dataclass(frozen=True)
class Spread:
    """A quantity over seeds.

    Attributes:
        mean: Of those that are known.
        std: The sample standard deviation (n - 1); None for a single seed.
        values: One for each seed, None where it is not known.
    """

    mean: float
    std: float | None
    values: list[float | None]


@dataclasses.dataclass(frozen=True)
class Row:
    """What a group of runs came to; None for what is not known.

    Attributes:
        network: The network, with the settings that tell it from others in the report.
        recipe: The recipe's name.
        dataset: The data set's name.
        seeds: Of the runs.
        test_accuracy_last: Share of the test set that the last checkpoint gets right.
        test_accuracy_best: Of the checkpoint that was best on the validation set.
        val_accuracy: The highest on the validation set.
        parameters: Number of trainable ones.
        epochs: Passes over the training images.
        images_per_second: Trained on.
        seconds: Wall-clock time of a run.
        device: What computed.
        folders: Of the runs.
    """

    network: str
    recipe: str | None
    dataset: str
    seeds: list[int | None]
    test_accuracy_last: Spread | None
    test_accuracy_best: Spread | None
    val_accuracy: Spread | None
    parameters: int | None
    epochs: Spread | None
    images_per_second: Spread | None
    seconds: Spread | None
    device: str | None
    folders: list[str]


class Column(NamedTuple):
    """A column of the printed table.

    Attributes:
        title: With its unit.
        cell: From a row to its text.
        numeric: Whether it is set flush right.
    """

    title: str
    cell: Callable[[Row], str]
    numeric: bool = True


def make_row(group: Group) -> Row:
    """Adds up a group."""
    runs, first = group.counted, group.runs[0]
    devices = dict.fromkeys(run.device for run in runs if run.device)
    return Row(
        network=group.name,
        recipe=first.setting("recipe"),
        dataset=group.dataset,
        seeds=[run.setting("seed") for run in runs],
        test_accuracy_last=spread([run.summary.get("test_accuracy") for run in runs]),
        test_accuracy_best=spread([run.summary.get("test_accuracy_best") for run in runs]),
        val_accuracy=spread([_best_validation(run) for run in runs]),
        parameters=next((r.summary["parameters"] for r in runs if "parameters" in r.summary), None),
        epochs=spread([run.reached("epochs") for run in runs]),
        images_per_second=spread([run.reached("images_per_second") for run in runs]),
        seconds=spread([run.reached("seconds") for run in runs]),
        device="; ".join(devices) or None,
        folders=[str(run.folder) for run in runs],
    )


def spread(values: Sequence[float | None]) -> Spread | None:
    """Mean and deviation of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    std = float(np.std(known, ddof=1)) if len(known) > 1 else None
    return Spread(float(np.mean(known)), std, list(values))


def _best_validation(run: Run) -> float | None:
    if "val_accuracy" in run.summary:
        return run.summary["val_accuracy"]
    return max((record["accuracy"] for record in run.of_kind("val")), default=None)


def percent(quantity: Spread | None) -> str:
    """53.02 or, over seeds, 53.02 ± 0.51."""
    if quantity is None:
        return MISSING
    deviation = "" if quantity.std is None else f" ± {100 * quantity.std:.2f}"
    return f"{100 * quantity.mean:.2f}{deviation}"


def _number(quantity: Spread | None, form: str) -> str:
    return MISSING if quantity is None else format(quantity.mean, form)


COLUMNS = (
    Column("network", lambda row: row.network, numeric=False),
    Column("test accuracy, last (%)", lambda row: percent(row.test_accuracy_last)),
    Column("test accuracy, best (%)", lambda row: percent(row.test_accuracy_best)),
    Column("validation accuracy (%)", lambda row: percent(row.val_accuracy)),
    Column("parameters", lambda row: MISSING if row.parameters is None else f"{row.parameters:,}"),
    Column("epochs", lambda row: _number(row.epochs, ".4g")),
    Column("speed (images/s)", lambda row: _number(row.images_per_second, ",.0f")),
    Column(
        "time of a run", lambda row: MISSING if row.seconds is None else format_duration(row.seconds.mean)
    ),
    Column("recipe", lambda row: row.recipe or MISSING, numeric=False),
    Column("data set", lambda row: row.dataset, numeric=False),
    Column("seeds", lambda row: ", ".join("?" if s is None else str(s) for s in row.seeds)),
    Column("device", lambda row: row.device or MISSING, numeric=False),
)


def explain(rows: Sequence[Row]) -> str:
    """What the columns' names leave out."""
    text = (
        "Last: the last checkpoint; best: the one with the highest validation accuracy, "
        "which is the one under validation. Speed is that of training, without evaluations."
    )
    if any(len(row.seeds) > 1 for row in rows):
        text += " Over seeds: means, ± is the sample standard deviation."
    return text


def markdown(rows: Sequence[Row]) -> str:
    """The table in GitHub's Markdown."""
    lines = [
        [column.title for column in COLUMNS],
        ["---:" if column.numeric else "---" for column in COLUMNS],
        *([column.cell(row).replace("|", "\\|") for column in COLUMNS] for row in rows),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
