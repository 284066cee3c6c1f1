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
    """``device`` of all parts of a run that began to train, ``hardware`` and ``versions`` of the last."""
    content = _read(folder)
    resumed = content.get(RESUMED)
    later = [part for part in resumed if isinstance(part, dict)] if isinstance(resumed, list) else []
    parts = [content, *later]
    now = {"device": device(), "hardware": hardware(), "versions": versions()}
    last = {name: parts[-1].get(name, value) for name, value in now.items()}
    earlier = [str(part["device"]) for part in parts[:-1] if "device" in part]
    return {**last, "device": ", then ".join(dict.fromkeys([*earlier, str(last["device"])]))}


def _read(folder: RunFolder) -> dict[str, Any]:
    try:
        return read_json(folder.path / "config.json")
    except UnreadableError:  # the settings come from a checkpoint then
        return {}
