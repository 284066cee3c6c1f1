"""Says in one line how two sets of named arrays differ."""

import difflib
from collections.abc import Collection, Mapping

__all__ = ["Shape", "describe_mismatch", "hint"]

Shape = tuple[int, ...]

# Differences of one kind that are written out.
SHOWN = 3


def describe_mismatch(expected: Mapping[str, Shape], found: Mapping[str, Shape]) -> str:
    """The first few names that are missing, unexpected or of another shape, with shapes and near misses.

    Returns:
        One line; empty where both agree.
    """
    missing = [key for key in expected if key not in found]
    unexpected = [key for key in found if key not in expected]
    reshaped = [key for key in expected if key in found and tuple(found[key]) != tuple(expected[key])]
    parts = [
        *_some([f"{key} is {found[key]}, not {expected[key]}" for key in reshaped], "of another shape"),
        *_some(
            [f"no {key} {expected[key]}{_near(key, unexpected or list(found), found)}" for key in missing],
            "missing",
        ),
        *_some(
            [
                f"unexpected {key} {found[key]}{_near(key, missing or list(expected), expected)}"
                for key in unexpected
            ],
            "unexpected",
        ),
    ]
    return "; ".join(parts)


def hint(expected: Mapping[str, Shape], found: Mapping[str, Shape], stem: str, head: str | None) -> str:
    """What would make the weights fit, where one option of the network or of ``from_torch`` explains it all.

    Args:
        expected: Names and shapes of the network's arrays.
        found: Those of the weights.
        stem: Name of the first convolution's weights.
        head: Name of the last linear layer, without ".weight"; None where the network has none.

    Returns:
        One clause; empty where nothing is known.
    """
    missing = {key for key in expected if key not in found}
    unexpected = {key for key in found if key not in expected}
    reshaped = {key for key in expected if key in found and tuple(found[key]) != tuple(expected[key])}
    of_head = {f"{head}.weight", f"{head}.bias"} if head else set()
    if unexpected and all(_is_shortcut(key) for key in unexpected) and not missing:
        return 'these weights have projections in their shortcuts: create_model(..., shortcut="B")'
    if missing and all(_is_shortcut(key) for key in missing) and not unexpected:
        return 'these weights have no projections in their shortcuts: create_model(..., shortcut="A")'
    if missing or unexpected:
        return "fresh_head=True makes a new head" if missing and missing <= of_head else ""
    if reshaped and reshaped <= of_head:
        classes = found[f"{head}.weight"][0]
        return (
            f"the weights have {classes} classes: create_model(..., num_classes={classes}) fits them, "
            "from_torch(..., fresh_head=True) makes a new head"
        )
    if reshaped == {stem} and len(found[stem]) == len(expected[stem]) == 4:
        ours, theirs = expected[stem], found[stem]
        if ours[1] != theirs[1] and (ours[0], *ours[2:]) == (theirs[0], *theirs[2:]):
            return (
                f"the weights are for images of {theirs[1]} channels: "
                f"from_torch(..., in_channels={ours[1]}) adapts them"
            )
        if theirs[2:] == (7, 7):
            return 'these weights are for large images: create_model(..., stem="imagenet")'
        if theirs[2:] == (3, 3):
            return 'these weights are for small images: create_model(..., stem="cifar")'
    return ""


def _is_shortcut(key: str) -> bool:
    return any(part in key.split(".") for part in ("downsample", "shortcut", "changedim"))


def _some(lines: list[str], kind: str) -> list[str]:
    more = len(lines) - SHOWN
    return lines if more <= 0 else [*lines[:SHOWN], f"and {more} more {kind}"]


def _near(key: str, names: Collection[str], shapes: Mapping[str, Shape]) -> str:
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    return f" (nearest: {near[0]} {shapes[near[0]]})" if near else ""
