"""Curves as numbers: each point a mean over seeds with its standard deviation."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from experiments.runs.records import WATCHED

__all__ = [
    "Quantity",
    "Records",
    "Series",
    "final_test",
    "held_out_kind",
    "held_out_series",
    "records_of_kind",
    "sample_std",
    "training_series",
    "training_speed",
    "watched_test_series",
]

Quantity = Literal["loss", "error"]
Records = Sequence[dict[str, Any]]
# The most points of a training curve: more is noise as wide as the line.
MAX_POINTS = 120
# The most points of other curves, which are not averaged: of more, evenly spaced ones are kept.
MAX_EVALUATIONS = 1000


class Series(NamedTuple):
    """A curve.

    Attributes:
        epochs: float, ``(points,)``, ascending.
        mean: float, ``(points,)``: cross-entropy in nats, or error in percent.
        std: float, ``(points,)``: over the seeds that reached the epoch, 0 where there is one.
    """

    epochs: np.ndarray
    mean: np.ndarray
    std: np.ndarray


def records_of_kind(records: Records, kind: str) -> list[dict[str, Any]]:
    """The records of training ("train"), validation ("val") or test ("test")."""
    return [record for record in records if record["kind"] == kind]


def training_series(seeds: Sequence[Records], quantity: Quantity) -> Series | None:
    """The curve over augmented training images while the network changed, averaged over stretches of epochs.

    Args:
        seeds: The records of each seed's run.
        quantity: What to measure.

    Returns:
        At most ``MAX_POINTS`` points; None where nothing was recorded.
    """
    runs = [records_of_kind(records, "train") for records in seeds]
    end = max((record["epoch"] for records in runs for record in records), default=0)
    if not end:
        return None
    return _mean_over_seeds((_binned(records, quantity, end / MAX_POINTS) for records in runs), quantity)


def held_out_kind(seeds: Sequence[Records]) -> str:
    """What was evaluated while training: "val", or "test" where only the test set was."""
    for kind in ("val", "test"):
        runs = [records_of_kind(records, kind) for records in seeds]
        if (kind == "val" and any(runs)) or any(len(records) > 2 for records in runs):
            return kind
    return "val"


def held_out_series(seeds: Sequence[Records], quantity: Quantity) -> Series | None:
    """The curve over the validation set; over the test set where only that was evaluated while training."""
    kind = held_out_kind(seeds)
    return _evaluated_series([records_of_kind(records, kind) for records in seeds], quantity)


def watched_test_series(seeds: Sequence[Records], quantity: Quantity) -> Series | None:
    """The curve over the test set as it was evaluated while training, beside a validation set."""
    if held_out_kind(seeds) == "test":
        return None
    runs = [[r for r in records_of_kind(records, "test") if r.get("which") == WATCHED] for records in seeds]
    return _evaluated_series(runs, quantity)


def final_test(seeds: Sequence[Records], quantity: Quantity) -> tuple[float, float, float] | None:
    """The test of the last checkpoints: epoch, mean and standard deviation over seeds."""
    tests = [[r for r in records_of_kind(records, "test") if r.get("which") == "last"] for records in seeds]
    last = [found[-1] for found in tests if found]
    if not last:
        return None
    values = [_value(record, quantity) for record in last]
    return max(record["epoch"] for record in last), float(np.mean(values)), sample_std(values)


def training_speed(records: Records) -> float | None:
    """Training images per second over all parts of a run; None where no step was timed."""
    timed = [r for r in records_of_kind(records, "train") if r.get("images_per_second")]
    seconds = sum(record["images"] / record["images_per_second"] for record in timed)
    return sum(record["images"] for record in timed) / seconds if seconds else None


def sample_std(values: Sequence[float]) -> float:
    """The sample standard deviation (n - 1); 0 for a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _evaluated_series(runs: Sequence[Records], quantity: Quantity) -> Series | None:
    by_epoch = ({round(record["epoch"], 6): record for record in records} for records in runs)
    series = _mean_over_seeds(by_epoch, quantity)
    if series is None or len(series.epochs) <= MAX_EVALUATIONS:
        return series
    kept = np.linspace(0, len(series.epochs) - 1, MAX_EVALUATIONS).round().astype(int)
    return Series(*(values[kept] for values in series))


def _binned(records: Records, quantity: Quantity, width: float) -> dict[float, dict[str, Any]]:
    """Means over the images of each stretch of ``width`` epochs, by the stretch's number."""
    bins: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        bins[int(np.ceil(round(record["epoch"] / width, 6)))].append(record)
    means: dict[float, dict[str, Any]] = {}
    for number, members in bins.items():
        weights = [max(record["images"], 1) for record in members]
        name = "loss" if quantity == "loss" else "accuracy"
        epoch = float(np.mean([record["epoch"] for record in members]))
        mean = float(np.average([record[name] for record in members], weights=weights))
        means[number] = {"epoch": epoch, name: mean}
    return means


def _mean_over_seeds(runs: Iterable[dict[float, dict[str, Any]]], quantity: Quantity) -> Series | None:
    """Over the records that have the same key in each run; a point is where the records are on average."""
    points: dict[float, list[dict[str, Any]]] = defaultdict(list)
    for records in runs:
        for key, record in records.items():
            points[key].append(record)
    if not points:
        return None
    members = [points[key] for key in sorted(points)]
    values = [[_value(record, quantity) for record in records] for records in members]
    epochs = [float(np.mean([record["epoch"] for record in records])) for records in members]
    means, stds = [float(np.mean(some)) for some in values], [sample_std(some) for some in values]
    return Series(np.array(epochs), np.array(means), np.array(stds))


def _value(record: dict[str, Any], quantity: Quantity) -> float:
    value: float = record["loss"] if quantity == "loss" else 100 * (1 - record["accuracy"])
    return value
