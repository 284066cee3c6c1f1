"""The numbers of a run as TensorBoard events: curves that overlay, settings in the HParams tab."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import hparams, scalar

from experiments.runs.text import printable

__all__ = ["RUNS", "TAGS", "TensorBoard"]

# Names of records in TensorBoard, where each is a run of its own so that equal tags overlay.
RUNS = {"train": "train", "val": "validation", "test": "test"}
TAGS = ("loss", "accuracy", "learning_rate", "grad_norm", "images_per_second")


class TensorBoard:
    """Writes records into ``folder``; opened by the first, so that a run that never starts leaves nothing.

    It writes in the caller's thread. The thread of tensorboardX's SummaryWriter would die of a full disk, and
    the caller would wait forever for it to take the next events.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, EventsWriter] = {}

    @contextlib.contextmanager
    def _writing(self, run: str) -> Iterator[EventsWriter]:
        """The writer of a run; errors of the system name its folder."""
        folder = self._folder / run
        try:
            if run not in self._writers:
                folder.mkdir(parents=True, exist_ok=True)
                self._writers[run] = EventsWriter(str(folder / "events"))
            yield self._writers[run]
            if run != RUNS["train"]:  # often enough for curves to be watched
                for writer in self._writers.values():
                    writer.flush()
        except OSError as error:
            error.filename = str(folder)
            raise

    def log(self, record: Mapping[str, Any]) -> None:
        """Adds the numbers of one metrics record under its step; a kind of record without numbers adds none.

        Raises:
            OSError: The folder cannot be written or is full.
        """
        if record["kind"] not in RUNS:
            return
        with self._writing(RUNS[record["kind"]]) as writer:
            for tag in TAGS:
                if isinstance(record.get(tag), int | float):
                    _write(writer, scalar(tag, record[tag]), record["step"])

    def hyperparameters(self, settings: Mapping[str, Any], results: Mapping[str, float]) -> None:
        """Adds the settings of the run and what came of it to the HParams tab.

        Raises:
            OSError: The folder cannot be written or is full.
        """
        flat = {
            f"{group}.{name}" if isinstance(values, Mapping) else group: value
            for group, values in settings.items()
            for name, value in (values.items() if isinstance(values, Mapping) else [(group, values)])
        }
        plain = {k: v if isinstance(v, bool | int | float) else printable(str(v)) for k, v in flat.items()}
        with self._writing(RUNS["test"]) as writer:
            for summary in hparams(plain, dict(results)):
                _write(writer, summary)
            for name, value in results.items():
                _write(writer, scalar(name, value))

    def close(self) -> None:
        """Writes what is left."""
        for writer in self._writers.values():
            # On a full disk an error would hide the one that ends the run; and where tensorboardX cannot
            # flush it leaves the file open, which Python would then report at any later time.
            with contextlib.suppress(OSError):
                writer.close()
            with contextlib.suppress(OSError, AttributeError):
                writer._py_recordio_writer.close()


def _write(writer: EventsWriter, summary: Any, step: int | None = None) -> None:
    writer.write_event(Event(wall_time=time.time(), step=step, summary=summary))
