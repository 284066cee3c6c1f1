"""Finds the ``state_dict`` in what training programs save, and the layers' plain names in it."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from jax_resnet._text import did_you_mean
from jax_resnet.errors import WeightsError

__all__ = ["Entry", "find_entry", "unwrap"]

# Names under which programs keep a moving average of the weights, and the weights themselves. The average
# comes first, as in timm's ``load_checkpoint``: it is what such programs report the accuracy of.
AVERAGES = (
    *("state_dict_ema", "model_ema", "model_state_dict_ema", "ema_state_dict", "ema_model", "model_average"),
    *("ema", "averaged_model", "swa_model", "average"),
)
CONTAINERS = (
    *AVERAGES,
    *("state_dict", "model_state_dict", "net_state_dict", "model_state", "net_state", "net", "model"),
    *("network", "module", "weights", "params", "state"),
)
# Parts of a name that a wrapper adds, wherever it stands; and those that hold the whole network, in front.
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
HOLDERS = ("module", "model", "net", "network", "backbone")
# Entries that are counts, not weights.
COUNTERS = ("num_batches_tracked", "n_averaged", "_extra_state")

_NO_WEIGHTS = re.compile(
    r"(^|_)(optim|optimi[sz]ers?|sched\w*|lr_sched\w*|scaler|exp_avg\w*|momentum\w*|grads?|gradients?)(_|$)",
    re.IGNORECASE,
)
_NO_LAYER = re.compile(r"loss|criterion|metric|accuracy|(^|_)acc($|_)", re.IGNORECASE)
_DEEPEST = 16


class Entry(NamedTuple):
    """A ``state_dict`` that was found.

    Attributes:
        name: Where: ``"model_ema"``, ``"state.model"``; empty where the file holds nothing else.
        values: Plain names of layers' arrays to arrays or tensors.
        others: Where there are other ``state_dict``s.
    """

    name: str
    values: dict[Any, Any]
    others: tuple[str, ...] = ()

    @property
    def choice(self) -> str:
        """One line for people: which of several was taken; empty where there was only one."""
        if not self.others:
            return ""
        return f"took {self.name!r}; there is also {', '.join(map(repr, self.others))}"


def unwrap(content: Any, entry: str | None = None) -> dict[Any, Any]:
    """The values of ``find_entry``."""
    return find_entry(content, entry).values


def find_entry(content: Any, entry: str | None = None) -> Entry:
    """Finds the ``state_dict`` in a checkpoint, without what wrappers add to its names and without counters.

    Of several, the moving average is taken, then the one under the best known name (``CONTAINERS``).

    Args:
        content: A ``state_dict``, or anything that holds one at any depth.
        entry: Which one, where there are several: its place (``"model"``, ``"state.model"``), or the
            prefix of its names (``"teacher"`` for ``teacher.conv1.weight``).

    Raises:
        WeightsError: There is no such entry, or there are several and none is known to be the one.
    """
    found = dict(_state_dicts(content, ()))
    if not found:
        return Entry("", _plain_names(content if isinstance(content, Mapping) else {}, None))
    prefix = None
    if entry is None:
        name = _best(found)
    elif entry in found:
        name = entry
    elif matching := [name for name in found if name.split(".")[-1] == entry]:
        name = matching[0]
    else:
        name, prefix = _with_prefix(found, entry), entry
    others = tuple(other for other in found if other != name)
    return Entry(name, _plain_names(found[name], prefix), others)


def _state_dicts(content: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Every mapping of names to arrays, with its place joined by dots."""
    if isinstance(content, list | tuple):
        content = dict(enumerate(content))
    if not isinstance(content, Mapping) or len(path) > _DEEPEST:
        return
    if any(_is_weight(key, value) for key, value in content.items()):
        yield ".".join(path), content
        return
    for key, value in content.items():
        if not _NO_WEIGHTS.search(str(key)):
            yield from _state_dicts(value, (*path, str(key)))


def _is_weight(key: Any, value: Any) -> bool:
    return isinstance(key, str) and key.rpartition(".")[2] == "weight" and hasattr(value, "shape")


def _best(found: Mapping[str, Any]) -> str:
    """The place under the best known name; the only one where there is one."""
    ranks = {
        name: min((CONTAINERS.index(part) for part in name.split(".") if part in CONTAINERS), default=99)
        for name in found
    }
    best = min(ranks.values())
    first, *rest = (name for name, rank in ranks.items() if rank == best)
    if rest:
        raise WeightsError(
            f"there are {len(found)} networks, {', '.join(map(repr, found))}: say which with entry={first!r}"
        )
    return first


def _with_prefix(found: Mapping[str, Mapping[Any, Any]], entry: str) -> str:
    """The place of the ``state_dict`` that has names with this prefix."""
    for name, values in found.items():
        if any(str(key).startswith(f"{entry}.") for key in values):
            return name
    known = ", ".join(repr(name) for name in found if name) or "no other"
    hint = did_you_mean(entry, found)
    raise WeightsError(f"there is no entry {entry!r}, but {known}{f'; {hint}' if hint else ''}")


def _plain_names(values: Mapping[Any, Any], prefix: str | None) -> dict[Any, Any]:
    """Drops counters, what wrappers add, and what stands beside the network in a larger module."""
    if prefix is not None:
        start = f"{prefix}."
        values = {
            key.removeprefix(start): value for key, value in values.items() if str(key).startswith(start)
        }
    plain: dict[Any, Any] = {}
    origin: dict[Any, str] = {}
    beside: list[Any] = []
    for key, value in values.items():
        if not isinstance(key, str):
            plain[key] = value
            continue
        parts = [part for part in key.split(".") if part not in WRAPPERS]
        if parts and parts[-1] in COUNTERS:
            continue
        held = 0
        while held < len(parts) - 2 and parts[held] in HOLDERS:
            held += 1
        name, holder = ".".join(parts[held:]), ".".join(parts[:held])
        if name in plain:
            raise WeightsError(
                f"two networks have {name}, under {origin[name]!r} and {holder!r}: "
                f"say which with entry={holder or origin[name]!r}"
            )
        if not held and _NO_LAYER.search(parts[0]):
            beside.append(name)
        plain[name], origin[name] = value, holder
    if any(origin.values()):
        for name in beside:
            del plain[name]
    return plain
