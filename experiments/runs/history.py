"""By which commands and on which machines a run was trained, as ``config.json`` says it."""

from typing import Any

from experiments.runs.environment import device, hardware, provenance, versions
from experiments.runs.folder import RunFolder
from experiments.runs.reading import UnreadableError, read_json

__all__ = ["record_resumption", "trained_on"]

# Of a run that was trained in several parts: the later parts, in order.
RESUMED = "resumed"


def record_resumption(folder: RunFolder, settings: dict[str, Any], *, trains: bool) -> None:
    """Writes the settings of a resumed run, and keeps what began it: command, versions, commit, machine.

    Args:
        folder: The run's folder.
        settings: The content of ``config.json`` but for its provenance.
        trains: Whether this process trains; else it only tests again.
    """
    now, before = provenance(), _read(folder)
    began = {name: before[name] for name in now if name in before} or now
    parts = before.get(RESUMED)
    resumed = [*(parts if isinstance(parts, list) else []), *([now] if trains else [])]
    folder.write_json("config.json", {**settings, **began, **({RESUMED: resumed} if resumed else {})})


def trained_on(folder: RunFolder) -> dict[str, Any]:
    """``device``, ``hardware`` and ``versions`` of the last part of a run that trained."""
    content = _read(folder)
    parts = content.get(RESUMED)
    last = parts[-1] if isinstance(parts, list) and parts and isinstance(parts[-1], dict) else content
    now = {"device": device(), "hardware": hardware(), "versions": versions()}
    return {name: last.get(name, value) for name, value in now.items()}


def _read(folder: RunFolder) -> dict[str, Any]:
    try:
        return read_json(folder.path / "config.json")
    except UnreadableError:  # the settings come from a checkpoint then
        return {}
