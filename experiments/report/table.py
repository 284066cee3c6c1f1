"""The numbers of a report: a row for runs that differ only by seed."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from experiments.program.console import format_duration
from experiments.report.groups import Group
from experiments.report.quality import calibration_error, disagreement, ensemble_accuracy, top_k_accuracy
from experiments.report.runs import Run
from experiments.report.settings import MISSING
from experiments.runs.markdown import markdown_table
from experiments.runs.records import STOPPED
from experiments.runs.series import sample_std
from experiments.runs.text import printable

__all__ = [
    "RESULT_COLUMNS",
    "Column",
    "Row",
    "Spread",
    "explain_predictions",
    "explain_results",
    "format_percent",
    "make_row",
    "prediction_columns",
    "summarize_values",
    "table_markdown",
]

TOP_5_CLASSES = 100  # Top-5 accuracy is shown for at least this number of classes.


@dataclasses.dataclass(frozen=True)
class Spread:
    """A quantity over seeds.

    Attributes:
        mean: Mean of the known values.
        std: Sample standard deviation (n - 1); None for a single value.
        values: One per seed, None where it is not known.
    """

    mean: float
    std: float | None
    values: list[float | None]


@dataclasses.dataclass(frozen=True)
class Row:
    """The results of a group of runs; None for what is not known. Accuracies are fractions.

    Attributes:
        network: The network, with the settings that tell it from others in the report.
        recipe: The recipe's name.
        dataset: The data set's name.
        seeds: The seed of each run.
        test_accuracy_last: Test accuracy of the last checkpoint.
        test_accuracy_best: Test accuracy of the checkpoint with the highest validation accuracy.
        val_accuracy: The highest validation accuracy.
        ensemble_accuracy: Test accuracy of the mean of the seeds' probabilities.
        disagreement: Fraction of test images that not all seeds predict alike.
        calibration_error: Expected calibration error on the test set.
        top5_accuracy: Top-5 test accuracy, where there are at least 100 classes.
        parameters: Number of trainable parameters.
        epochs: Passes over the training images.
        images_per_second: Training images per second, without evaluations.
        seconds: Wall-clock time per run.
        device: The devices that computed.
        folders: The folder of each run.
    """

    network: str
    recipe: str | None
    dataset: str
    seeds: list[int | None]
    test_accuracy_last: Spread | None
    test_accuracy_best: Spread | None
    val_accuracy: Spread | None
    ensemble_accuracy: float | None
    disagreement: float | None
    calibration_error: Spread | None
    top5_accuracy: Spread | None
    parameters: int | None
    epochs: Spread | None
    images_per_second: Spread | None
    seconds: Spread | None
    device: str | None
    folders: list[str]


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        title: The heading, with the unit.
        cell: Makes a row's text.
        numeric: Whether it is aligned right.
    """

    title: str
    cell: Callable[[Row], str]
    numeric: bool = True


def make_row(group: Group) -> Row:
    """Summarizes a group."""
    runs, first = group.averaged, group.runs[0]
    summaries = [run.summary for run in runs]
    devices = dict.fromkeys(run.device for run in runs if run.device)
    ensemble, apart = _compare_predictions(runs)
    recipe = first.setting("recipe")
    return Row(
        network=group.name,
        recipe=printable(recipe) if recipe else None,
        dataset=group.dataset,
        seeds=[run.setting("seed") for run in runs],
        test_accuracy_last=summarize_values([s.test_accuracy if s else None for s in summaries]),
        test_accuracy_best=summarize_values([s.test_accuracy_best if s else None for s in summaries]),
        val_accuracy=summarize_values([_best_validation(run) for run in runs]),
        ensemble_accuracy=ensemble,
        disagreement=apart,
        calibration_error=summarize_values(
            [None if run.predictions is None else calibration_error(*run.predictions) for run in runs]
        ),
        top5_accuracy=summarize_values([_top_5(run) for run in runs]),
        parameters=next((s.parameters for s in summaries if s and s.parameters is not None), None),
        epochs=summarize_values([run.reached("epochs") for run in runs]),
        images_per_second=summarize_values([run.reached("images_per_second") for run in runs]),
        seconds=summarize_values([run.reached("seconds") for run in runs]),
        device="; ".join(devices) or None,
        folders=[printable(str(run.folder), 1000) for run in runs],
    )


def summarize_values(values: Sequence[float | None]) -> Spread | None:
    """Mean and standard deviation of the known values; None where there are none."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(float(np.mean(known)), sample_std(known) if len(known) > 1 else None, list(values))


def table_markdown(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """The table in GitHub's Markdown."""
    cells = [[column.cell(row) for column in columns] for row in rows]
    return markdown_table([c.title for c in columns], cells, [c.numeric for c in columns])


def explain_results(rows: Sequence[Row]) -> str:
    """What the headings of the results leave out."""
    text = (
        "Last: the last checkpoint; best: the one with the highest validation accuracy, "
        "which is the one under validation. Speed is that of training, without evaluations. "
        "Runs (seeds): how many runs a row stands for, and their seeds."
    )
    if any(len(row.seeds) > 1 for row in rows):
        text += " Over seeds: means, ± is the sample standard deviation."
    return text


def explain_predictions(rows: Sequence[Row]) -> str:
    """What the headings of the predictions' table leave out."""
    text = (
        "From each run's predictions on the test set with the best checkpoint (the last without validation)."
    )
    if any(row.ensemble_accuracy is not None for row in rows):
        text += (
            " Ensemble: the mean of the seeds' probabilities. Seeds disagree: test images that not all "
            "seeds predict alike."
        )
    return text + " Calibration error: the expected difference of accuracy and confidence, over 15 bins."


def prediction_columns(rows: Sequence[Row]) -> list[Column]:
    """The columns of the predictions' table of which any row has a value; none where no row has."""
    columns = [column for column in PREDICTION_COLUMNS if any(column.cell(row) != MISSING for row in rows)]
    return [RESULT_COLUMNS[0], *columns] if columns else []


def _compare_predictions(runs: Sequence[Run]) -> tuple[float | None, float | None]:
    """Ensemble accuracy and disagreement, where two runs or more have predictions of the same images."""
    found = [run.predictions for run in runs if run.predictions is not None]
    if len(found) < 2 or len(found) < len(runs):
        return None, None
    labels = found[0].labels
    alike = all(
        np.array_equal(p.labels, labels) and p.logits.shape == found[0].logits.shape for p in found[1:]
    )
    if not alike:
        return None, None
    logits = [p.logits for p in found]
    return ensemble_accuracy(labels, logits), disagreement(logits)


def _top_5(run: Run) -> float | None:
    predictions = run.predictions
    if predictions is None or predictions.logits.shape[1] < TOP_5_CLASSES:
        return None
    return top_k_accuracy(predictions.labels, predictions.logits, 5)


def _best_validation(run: Run) -> float | None:
    if run.summary and run.summary.val_accuracy is not None:
        return run.summary.val_accuracy
    validations = [record for record in run.records_of_kind("val") if record.get("which") != STOPPED]
    return max((record["accuracy"] for record in validations), default=None)


def format_percent(quantity: Spread | float | None) -> str:
    """53.02 or, over seeds, 53.02 ± 0.51."""
    if quantity is None:
        return MISSING
    if isinstance(quantity, float):
        return f"{100 * quantity:.2f}"
    deviation = "" if quantity.std is None else f" ± {100 * quantity.std:.2f}"
    return f"{100 * quantity.mean:.2f}{deviation}"


def _mean(quantity: Spread | None, form: str) -> str:
    return MISSING if quantity is None else format(quantity.mean, form)


def _duration(quantity: Spread | None) -> str:
    return MISSING if quantity is None else format_duration(quantity.mean)


def _runs_and_seeds(seeds: Sequence[int | None]) -> str:
    """How many runs, and which seeds: 3 (0, 1, 2), or 10 (0 to 9)."""
    known = [seed for seed in seeds if seed is not None]
    if len(known) == len(seeds) > 3 and known == list(range(known[0], known[0] + len(known))):
        return f"{len(seeds)} ({known[0]} to {known[-1]})"
    names = ["?" if seed is None else str(seed) for seed in seeds]
    more = [f"and {len(names) - 8} more"] if len(names) > 9 else []
    return f"{len(seeds)} ({', '.join([*names[: 8 if more else 9], *more])})"


RESULT_COLUMNS = (
    Column("network", lambda row: row.network, numeric=False),
    Column("test accuracy, last (%)", lambda row: format_percent(row.test_accuracy_last)),
    Column("test accuracy, best (%)", lambda row: format_percent(row.test_accuracy_best)),
    Column("validation accuracy (%)", lambda row: format_percent(row.val_accuracy)),
    Column("runs (seeds)", lambda row: _runs_and_seeds(row.seeds)),
    Column("parameters", lambda row: MISSING if row.parameters is None else f"{row.parameters:,}"),
    Column("epochs", lambda row: _mean(row.epochs, ".4g")),
    Column("speed (images/s)", lambda row: _mean(row.images_per_second, ",.0f")),
    Column("time per run", lambda row: _duration(row.seconds)),
    Column("recipe", lambda row: row.recipe or MISSING, numeric=False),
    Column("data set", lambda row: row.dataset, numeric=False),
    Column("device", lambda row: row.device or MISSING, numeric=False),
)
PREDICTION_COLUMNS = (
    Column("ensemble accuracy (%)", lambda row: format_percent(row.ensemble_accuracy)),
    Column("seeds disagree (%)", lambda row: format_percent(row.disagreement)),
    Column("top-5 accuracy (%)", lambda row: format_percent(row.top5_accuracy)),
    Column("calibration error (%)", lambda row: format_percent(row.calibration_error)),
)
