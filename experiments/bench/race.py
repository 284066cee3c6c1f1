"""A recipe trained by ``experiments.cifar10`` and by a plain PyTorch program: time to the same accuracy."""

import json
import tempfile
from pathlib import Path
from typing import Any

from experiments.bench.case import parse_arch
from experiments.bench.config import BenchConfig
from experiments.bench.epoch import data_flags, run_to_report
from experiments.bench.table import Row
from experiments.program.console import Console
from experiments.runs.records import read_records

__all__ = ["race_rows", "time_race"]

# Of a validation: "epoch", "val_accuracy" and "seconds" since the network was built.
Validation = dict[str, float]


def time_race(config: BenchConfig, console: Console) -> list[Row]:
    """Trains both, one after the other, in every round.

    Raises:
        ExperimentError: A program failed.
    """
    arch, _ = parse_arch(config.arch[0])
    flags = ["--arch", arch, *data_flags(config), "--recipe", config.recipe]
    if config.epochs is not None:
        flags += ["--epochs", str(config.epochs)]
    rows: list[Row] = []
    for number in range(config.rounds):
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            ours = ["experiments.cifar10", *flags, "--eval-every", "1", "--seed", str(number)]
            done = run_to_report([*ours, "--workdir", str(run)], run / "summary.json")
            dtype = json.loads((run / "config.json").read_text())["config"]["model"]["dtype"]
            records = [record for record in read_records(run / "metrics.jsonl") if record["kind"] == "val"]
        validations = [{**record, "val_accuracy": record["accuracy"]} for record in records]
        reports = {"jax_resnet": {**done, "validations": validations}}
        console.line(f"round {number + 1}: jax_resnet {validations[-1]['val_accuracy']:.2%} in {dtype}")
        theirs = ["experiments.bench.torch_cifar10", *flags, "--dtype", dtype]
        reports["PyTorch"] = run_to_report(theirs)
        console.line(f"round {number + 1}: PyTorch {reports['PyTorch']['val_accuracy']:.2%} in {dtype}")
        rows += race_rows(arch, dtype, reports, config.accuracy)
    return rows


def race_rows(arch: str, dtype: str, reports: dict[str, Any], accuracy: float) -> list[Row]:
    """A row per program, and one with how many times as fast the first was where both reached the accuracy.

    Args:
        arch: The network.
        dtype: What both computed in.
        reports: By program: its report, with its validations.
        accuracy: The validation accuracy to reach; the time is empty for a program that did not.
    """
    rows: list[Row] = []
    seconds = f"to {accuracy:.2%} (s)"
    for name, report in reports.items():
        reached = (v for v in report["validations"] if v["val_accuracy"] >= accuracy)
        first: Validation = next(reached, {})
        rows.append(
            {
                "network": arch,
                "dtype": dtype,
                "by": name,
                seconds: first.get("seconds"),
                "epochs": first.get("epoch"),
                "training (images/s)": report["images_per_second"],
                "last validation (%)": 100 * report["validations"][-1]["val_accuracy"],
                "test (%)": 100 * report["test_accuracy"],
            }
        )
    ours, theirs = rows
    if None in (ours[seconds], theirs[seconds]):
        return rows
    ratio: Row = {"network": arch, "dtype": dtype, "by": "times as fast"}
    ratio[seconds] = float(theirs[seconds]) / float(ours[seconds])
    return [*rows, ratio]
