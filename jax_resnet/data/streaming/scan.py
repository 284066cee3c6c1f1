"""Finds all images that cannot be decoded, before training comes upon them one by one."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from jax_resnet.data.images import ImageError, decode_image

__all__ = ["describe_unreadable", "find_unreadable", "report_unreadable"]

PER_THREAD = 64  # images handed to each thread at a time: a million futures at once would fill the memory
NAMED = 5


class EncodedImages(Protocol):
    """Encoded images by number, such as ``FolderImages`` and ``RecordImages``."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """How a person finds the image."""

    def read(self, index: int) -> tuple[bytes, int]:
        """The encoded image and its label."""


def find_unreadable(
    images: EncodedImages,
    *,
    threads: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[int, ImageError]:
    """Decodes every image and returns the error of each one that cannot be read, by its number.

    Decoding in full is the only way to know: a file that was cut short has a good beginning. It takes as
    long as an epoch without training. A few hundred images are in memory at a time.

    Args:
        images: What to check.
        threads: How many decode (Pillow releases Python's lock); one per core by default, 32 at most.
        progress: Called with the number of images done since the last call.
    """
    threads = threads or min(32, os.cpu_count() or 1)
    unreadable: dict[int, ImageError] = {}

    def check(index: int) -> ImageError | None:
        try:
            encoded, _ = images.read(index)
            decode_image(encoded, images.name(index))
        except ImageError as error:
            return error.with_traceback(None)  # which would keep the image in memory
        return None

    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(images), threads * PER_THREAD):
            some = range(start, min(start + threads * PER_THREAD, len(images)))
            errors = zip(some, pool.map(check, some), strict=True)
            unreadable |= {index: error for index, error in errors if error is not None}
            progress(len(some))
    return unreadable


def report_unreadable(
    images: EncodedImages, split: str, report: Callable[[str], None]
) -> dict[int, ImageError]:
    """``find_unreadable``, and a line before and after it for people, which name the split."""
    report(f"decoding {len(images):,} images of {split} to find those that cannot be read ...")
    if unreadable := find_unreadable(images):
        report(f"{describe_unreadable(list(unreadable.values()), len(images))}; they are left out")
    return unreadable


def describe_unreadable(errors: Sequence[ImageError], images: int) -> str:
    """One line: how many of ``images`` images cannot be read, and the first few with the reason."""
    named = [f"{error.name} ({error.reason})" for error in errors[:NAMED]]
    if len(errors) > NAMED:
        named.append(f"and {len(errors) - NAMED} more")
    return f"{len(errors)} of {images} images cannot be read: {', '.join(named)}"
