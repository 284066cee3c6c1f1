"""Downloads one file over HTTP: whole or not at all, with progress, giving up on dead hosts in seconds."""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from jax_resnet._text import first_line
from jax_resnet.data.reporter import Reporter
from jax_resnet.errors import DataError

__all__ = ["NotFoundError", "Patience", "TooSlowError", "check_url", "download", "explain"]

# Seconds to connect, and seconds without a single byte.
_TIMEOUT = (5, 20)
# The largest original archive has 170 MB. An endless answer must not fill the disk.
_MAX_BYTES = 1 << 30


@dataclasses.dataclass(frozen=True)
class Patience:
    """How long to wait for hosts.

    The original CIFAR host is at times throttled to an hour per archive.

    Attributes:
        probe_seconds: Time in which the hosts' speeds are measured; 0 takes the hosts as listed.
        measure_seconds: Time of a download after which its speed is judged.
        left_for_last_seconds: A download that would take longer waits until the other sources have failed.
        fast_enough_seconds: Sources that would take less than this are equally good.
        npm_stalled_seconds: Time without a new byte after which the npm client is stopped.
    """

    probe_seconds: float = 5.0
    measure_seconds: float = 15.0
    left_for_last_seconds: float = 600.0
    fast_enough_seconds: float = 10.0
    npm_stalled_seconds: float = 60.0


class NotFoundError(DataError):
    """The host answers, but does not have the file."""


class TooSlowError(DataError):
    """The download would take longer than trying the other sources first is worth."""


def check_url(url: str) -> None:
    """Checks that a URL can be downloaded here.

    Raises:
        DataError: It is not an http or https URL.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise DataError("is not an http or https URL (local files are named as archives instead)")


def download(url: str, folder: Path, reporter: Reporter, patience: Patience | None = None) -> Path:
    """Downloads a file into a folder.

    Args:
        url: An http or https URL.
        folder: Where the file goes, under the last part of the URL.
        reporter: Receives progress in bytes.
        patience: When to give up on a slow host; None for never.

    Raises:
        NotFoundError: The host answers with an HTTP error.
        TooSlowError: The rest would take longer than ``patience`` allows.
        DataError: The host cannot be reached, breaks off, or sends too much.
    """
    import pooch
    import requests

    name = url.split("?")[0].rstrip("/").rsplit("/", 1)[-1]
    with contextlib.ExitStack() as stack:
        logger = pooch.get_logger()
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.WARNING)
        bar = _Bar(f"{name} (bytes)", reporter, stack, patience)
        # Not compressed on the way: the length that the host gives is that of what is written.
        headers = {"Accept-Encoding": "identity"}
        fetcher = pooch.HTTPDownloader(
            progressbar=bar, timeout=_TIMEOUT, chunk_size=bar.chunk_size, headers=headers
        )

        def fetch(url: str, output_file: str, pooch: object) -> None:
            with open(output_file, "wb") as file:
                fetcher(url, _Counted(file, bar), pooch)

        try:
            file = pooch.retrieve(url, known_hash=None, fname=name, path=folder, downloader=fetch)
        except requests.RequestException as error:
            raise explain(error) from error
        except ValueError as error:
            raise DataError(first_line(error)) from error
        except OSError as error:
            raise DataError(f"cannot write to {folder} ({error.strerror or error})") from error
    path = Path(file)
    if bar.total and path.stat().st_size < bar.total:
        raise DataError(f"the connection broke after {path.stat().st_size} of {bar.total} bytes")
    return path


def explain(error: Exception) -> DataError:
    """The error of this module for an error of requests or of the system."""
    import requests

    if isinstance(error, requests.HTTPError):
        return NotFoundError(str(error).split(" for url")[0])
    if isinstance(error, requests.exceptions.SSLError):
        untrusted = "CERTIFICATE_VERIFY_FAILED" in str(error)
        what = "its certificate is not trusted here" if untrusted else "no secure connection"
        return DataError(f"cannot connect: {what} ({first_line(error)})")
    if isinstance(error, requests.exceptions.ProxyError):
        return DataError(f"cannot connect through the proxy ({first_line(error)})")
    if isinstance(error, requests.Timeout):
        return DataError("the host does not answer")
    if isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError):
        return DataError("cannot connect, or the connection broke")
    return DataError(first_line(error))


class _Counted:
    """A file that tells a bar what is written to it: pooch's own counts are of chunks of a nominal size."""

    def __init__(self, file: IO[bytes], bar: "_Bar") -> None:
        self._file, self._bar = file, bar

    def write(self, content: bytes) -> int:
        self._bar.count(len(content))
        return self._file.write(content)

    def flush(self) -> None:
        self._file.flush()


class _Bar:
    """The interface that pooch calls a progress bar, passing on to the reporter."""

    chunk_size = 1 << 16

    def __init__(
        self, description: str, reporter: Reporter, stack: contextlib.ExitStack, patience: Patience | None
    ) -> None:
        self._description, self._reporter, self._stack, self._patience = (
            description,
            reporter,
            stack,
            patience,
        )
        self._advance: Callable[[int], None] | None = None
        self._start = time.monotonic()
        self._done = 0
        self.total = 0

    def update(self, n: int) -> None:
        pass  # see ``_Counted``

    def count(self, n: int) -> None:
        """Counts bytes that are about to be written.

        Raises:
            TooSlowError: See ``download``.
            DataError: They are too many.
        """
        if self._advance is None:
            progress = self._reporter.progress(self._description, self.total or None)
            self._advance = self._stack.enter_context(progress)
        self._advance(n)
        self._done += n
        if max(self._done, self.total) > _MAX_BYTES:
            raise DataError(f"the host sends more than {_MAX_BYTES:,} bytes")
        self._give_up_if_slow()

    def _give_up_if_slow(self) -> None:
        elapsed = time.monotonic() - self._start
        if self._patience is None or not self.total or elapsed < self._patience.measure_seconds:
            return
        left = elapsed * (self.total - self._done) / self._done
        if left > self._patience.left_for_last_seconds:
            rate = self._done / elapsed / 1000
            raise TooSlowError(f"{rate:.0f} kB/s, {left / 60:.0f} minutes to go: left for last")

    def reset(self) -> None:
        pass

    def close(self) -> None:
        pass
