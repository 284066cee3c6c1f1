"""Curves as numbers: each a mean over seeds with its deviation."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import numpy as np

from experiments.report.groups import Group

Quantity = Literal["loss", "error"]
POINTS = 120  # A training curve has at most so many: more is noise a line wide.


class Series(NamedTuple):
    """A curve.

    Attributes:
        epochs: float, ``(points,)``, ascending.
        mean: float, ``(points,)``: nats, or per cent.
        std: float, ``(points,)``: over the seeds that got there, 0 where that is one.
    """

    epochs: np.ndarray
    mean: np.ndarray
    std: np.ndarray


def training(group: Group, quantity: Quantity) -> Series | None:
    """Over training images, augmented, while the network changed; each point a mean over some steps."""
    runs = [run.of_kind("train") for run in group.counted]
    end = max((record["epoch"] for records in runs for record in records), default=0)
    if not end:
        return None
    return _across((_binned(records, quantity, end / POINTS) for records in runs), quantity)


def held_out(group: Group, quantity: Quantity) -> tuple[Series | None, str]:
    """Over the validation set, or over the test set where that was looked at as the training went on.

    Returns:
        The curve, and which of the two it is over.
    """
    for kind in ("val", "test"):
        runs = [run.of_kind(kind) for run in group.counted]
        if (kind == "val" and any(runs)) or any(len(records) > 2 for records in runs):
            return _across(({r["epoch"]: r for r in records} for records in runs), quantity), kind
    return None, "val"


def final_test(group: Group, quantity: Quantity) -> tuple[float, float, float] | None:
    """Of the last checkpoints: epoch, mean and deviation over seeds."""
    tests = [[r for r in run.of_kind("test") if r.get("which") == "last"] for run in group.counted]
    records = [found[-1] for found in tests if found]
    if not records:
        return None
    values = [_value(record, quantity) for record in records]
    return max(record["epoch"] for record in records), float(np.mean(values)), _std(values)


def _binned(records: list[dict[str, Any]], quantity: Quantity, width: float) -> dict[float, dict[str, Any]]:
    """Means over the images of each stretch of ``width`` epochs, by the stretch's middle."""
    bins: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        bins[int(np.ceil(round(record["epoch"] / width, 6)))].append(record)
    means = {}
    for members in bins.values():
        weights = [record["images"] for record in members]
        name = "loss" if quantity == "loss" else "accuracy"
        epoch = float(np.mean([record["epoch"] for record in members]))
        means[epoch] = {name: float(np.average([record[name] for record in members], weights=weights))}
    return means


def _across(runs: Iterable[dict[float, dict[str, Any]]], quantity: Quantity) -> Series | None:
    points: dict[float, list[float]] = defaultdict(list)
    for records in runs:
        for epoch, record in records.items():
            points[round(epoch, 6)].append(_value(record, quantity))
    if not points:
        return None
    epochs = sorted(points)
    means = [float(np.mean(points[epoch])) for epoch in epochs]
    return Series(np.array(epochs), np.array(means), np.array([_std(points[epoch]) for epoch in epochs]))


def _value(record: dict[str, Any], quantity: Quantity) -> float:
    return record["loss"] if quantity == "loss" else 100 * (1 - record["accuracy"])


def _std(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
