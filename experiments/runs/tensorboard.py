"""The numbers of a run as TensorBoard events: curves that overlay, settings in the HParams tab."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

__all__ = ["RUNS", "TAGS", "TensorBoard"]

# Names of records in TensorBoard, where each is a run of its own so that equal tags overlay.
RUNS = {"train": "train", "val": "validation", "test": "test"}
TAGS = ("loss", "accuracy", "learning_rate", "grad_norm", "images_per_second")


class TensorBoard:
    """Writes records into ``folder``; opened by the first, so that a run that never starts leaves nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, SummaryWriter] = {}

    def _writer(self, run: str) -> SummaryWriter:
        if run not in self._writers:
            self._writers[run] = SummaryWriter(str(self._folder / run))
        return self._writers[run]

    def log(self, record: Mapping[str, Any]) -> None:
        """Adds the numbers of one metrics record under its step."""
        writer = self._writer(RUNS.get(record["kind"], record["kind"]))
        for tag in TAGS:
            if isinstance(record.get(tag), int | float):
                writer.add_scalar(tag, record[tag], record["step"])

    def hyperparameters(self, settings: Mapping[str, Any], results: Mapping[str, float]) -> None:
        """Adds the settings of the run and what came of it to the HParams tab."""
        flat = {
            f"{group}.{name}" if isinstance(values, Mapping) else group: value
            for group, values in settings.items()
            for name, value in (values.items() if isinstance(values, Mapping) else [(group, values)])
        }
        plain = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in flat.items()}
        self._writer(RUNS["test"]).add_hparams(plain, dict(results), name=".")

    def close(self) -> None:
        """Writes what is left."""
        for writer in self._writers.values():
            writer.close()
