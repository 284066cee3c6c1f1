"""What a resumed run takes from its folder, and what it may change."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

from experiments.program.errors import ConfigError
from experiments.settings.config import Config
from experiments.settings.fields import flag_of, from_dict, groups_of, rules_of

__all__ = [
    "changeable",
    "check_same",
    "decides_numbers",
    "may_change",
    "read_config",
    "resumed_defaults",
    "saved_config",
]


def may_change(field: dataclasses.Field[Any]) -> bool:
    """Whether a resumed run may have another value here: no state of the training depends on it."""
    rules = rules_of(field)
    return rules is not None and rules.may_change


@functools.cache
def changeable() -> frozenset[str]:
    """The names of the settings that a resumed run may have other values of."""
    fields = (field for _, group in groups_of(Config()) for field in dataclasses.fields(group))
    return frozenset(field.name for field in fields if may_change(field))


def decides_numbers(field: dataclasses.Field[Any]) -> bool:
    """Whether the numbers that a run reports depend on the setting: its training, or what is taken of it."""
    rules = rules_of(field)
    return rules is None or rules.reported or not rules.may_change


def saved_config(workdir: Path) -> Config | None:
    """The settings of the run in a folder: from ``config.json``, else from its newest readable checkpoint.

    None where neither can be read.
    """
    steps = [folder for folder in workdir.glob("checkpoints/*") if folder.name.isdigit()]
    newest_first = sorted(steps, key=lambda folder: int(folder.name), reverse=True)
    for file in (workdir / "config.json", *(step / "config" / "metadata" for step in newest_first)):
        if (config := read_config(file)) is not None:
            return config
    return None


def read_config(file: Path) -> Config | None:
    """The settings in a ``config.json``; None if it is missing, damaged or of another program."""
    if not file.is_file():
        return None
    try:
        written = json.loads(file.read_text())["config"]
        if not {"model", "optim"} & set(written):
            return None
        config: Config = from_dict(Config, written)
        config.check_without_jax()
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, ConfigError):
        return None
    return config


def resumed_defaults(saved: Config, workdir: Path | None) -> Config:
    """The defaults of a resumed run's flags: the saved settings, but for those of one call alone.

    Args:
        saved: The settings.
        workdir: The folder they were read from, which may have been moved since; None for the first of
            several runs, each of which has a folder of its own.
    """
    place = None if workdir is None else str(workdir)
    run = dataclasses.replace(saved.run, workdir=place, max_steps=None, resume=False, overwrite=False)
    return dataclasses.replace(
        saved,
        run=run,
        parallel=dataclasses.replace(
            saved.parallel, coordinator=None, num_processes=None, process_id=None, threads=None
        ),
    )


def _unknown_settings(file: Path) -> list[str]:
    """The names in a ``config.json`` of settings that there are not; none where it cannot be read."""
    try:
        written = json.loads(file.read_text())["config"]
        known = dataclasses.asdict(Config())
        groups = {name: group for name, group in written.items() if isinstance(known.get(name), dict)}
        inner = [name for key, group in groups.items() for name in group if name not in known[key]]
        return [*(name for name in written if name not in known), *inner]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []


def check_same(config: Config, folder: Path) -> None:
    """Refuses to continue a run with other settings than it was started with.

    Raises:
        ConfigError: Naming the setting.
    """
    saved = saved_config(folder)
    if saved is None:
        return
    if unknown := _unknown_settings(folder / "config.json"):
        raise ConfigError(
            f"the run in {folder} has settings that this version does not know: {', '.join(unknown)}; resume "
            "it with the version that its config.json names, or start another in a new --workdir"
        )
    for name, group in groups_of(config):
        before = saved if name is None else getattr(saved, name)
        for field in dataclasses.fields(group):
            if rules_of(field) is None or may_change(field):
                continue
            old, new = getattr(before, field.name), getattr(group, field.name)
            if old != new and new != "auto":  # auto takes what the run chose
                raise ConfigError(
                    f"the run in {folder} was started with {flag_of(field.name)} {old}, not {new}: "
                    "resume it without that flag (with the old value where a recipe has changed since), or "
                    "start another in a new --workdir"
                )
