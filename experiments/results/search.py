"""The log of tried settings, ``search.jsonl``: a JSON object per line."""

import dataclasses
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from experiments.program.errors import ConfigError
from experiments.results.keep import read_finished_runs
from experiments.results.training_command import changed_flags
from experiments.runs.reading import MIB, UnreadableError, parse_json, read_bytes
from experiments.runs.schema import AMOUNT, COUNT, FRACTION, TEXT, read_checked
from experiments.settings.command import program_of
from jax_resnet._files import write_text

__all__ = ["Trial", "log_runs", "read_trials"]


@dataclasses.dataclass(frozen=True)
class Trial:
    """One training of a search: settings that were tried, and what they gave on the validation set.

    Attributes:
        recipe: The recipe that was started from.
        arch: The network.
        flags: The flags over the recipe's settings, as a shell takes them; empty for the recipe itself.
        seed: The seed.
        val_accuracy: The highest validation accuracy, a fraction.
        steps: Training steps.
        device: The devices, as in ``summary.json``.
        minutes: Minutes of training, validation included; None where nobody measured them.
    """

    recipe: Annotated[str, TEXT] = ""
    arch: Annotated[str, TEXT] = ""
    flags: Annotated[str, TEXT] = ""
    seed: Annotated[int, COUNT] = 0
    val_accuracy: Annotated[float | None, FRACTION] = None
    steps: Annotated[int | None, COUNT] = None
    device: Annotated[str, TEXT] = ""
    minutes: Annotated[float | None, AMOUNT] = None


REQUIRED = ("recipe", "flags", "seed", "val_accuracy", "steps", "device")


def read_trials(path: Path) -> list[Trial]:
    """Reads a log; a missing file holds no trials.

    Raises:
        ConfigError: A line is not a trial.
    """
    if not path.exists():
        return []
    try:
        lines = read_bytes(path, 16 * MIB).splitlines()
    except UnreadableError as error:
        raise ConfigError(f"{path}: {error}") from None
    trials = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            trials.append(_parse(line))
        except UnreadableError as error:
            raise ConfigError(f"{path}, line {number}: {error}") from None
    return trials


def log_runs(paths: Sequence[Path], log: Path, *, report: Callable[[str], None]) -> None:
    """Adds a line per finished run; what the log holds already is not added again.

    Raises:
        ConfigError: A run is not finished, or has no validation to choose by; or the log is damaged.
        OSError: The log cannot be written.
    """
    known = {_tried(trial) for trial in read_trials(log)}
    added: list[Trial] = []
    for run in read_finished_runs(paths):
        summary, settings = run.summary, run.settings
        if summary is None or summary.val_accuracy is None:
            raise ConfigError(f"{run.folder} has no validation accuracy: a search chooses by nothing else")
        trial = Trial(
            recipe=settings["recipe"],
            arch=settings["arch"],
            flags=shlex.join(_flags(settings, run.environment.flags or ())),
            seed=settings["seed"],
            val_accuracy=summary.val_accuracy,
            steps=summary.steps,
            device=run.device or "",
            minutes=None if summary.seconds is None else round(summary.seconds / 60, 2),
        )
        if _tried(trial) not in known:
            known.add(_tried(trial))
            added.append(trial)
        report(f"{run.folder}: {trial.recipe} {trial.flags}: {trial.val_accuracy:.2%} on validation")
    before = log.read_text(encoding="utf-8") if log.exists() else ""
    lines = [json.dumps(dataclasses.asdict(trial)) + "\n" for trial in added]
    write_text(log, before + ("\n" if before and not before.endswith("\n") else "") + "".join(lines))


def _tried(trial: Trial) -> Trial:
    """What was tried, and what came of it: a run that is only tested again takes other minutes."""
    return dataclasses.replace(trial, minutes=None)


def _flags(settings: Mapping[str, Any], typed: Sequence[str]) -> list[str]:
    dataset = settings["dataset"]
    other = [] if dataset == program_of("cifar10")[1] else ["--dataset", dataset]
    return [*other, *changed_flags(settings, typed)]


def _parse(line: bytes) -> Trial:
    content: Any = parse_json(line)
    if not isinstance(content, dict):
        raise UnreadableError("not a JSON object")
    if missing := [name for name in REQUIRED if content.get(name) is None]:
        raise UnreadableError(f"without {missing[0]}")
    if isinstance(content["flags"], list):
        content = {**content, "flags": shlex.join(map(str, content["flags"]))}
    trial, wrong = read_checked(Trial, content, "it")
    if wrong:
        raise UnreadableError(wrong[0])
    return trial
