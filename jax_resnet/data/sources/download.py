"""Downloads one file over HTTP: whole or not at all, with progress, giving up on dead hosts in seconds."""

import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path

from jax_resnet.data.reporter import Reporter
from jax_resnet.errors import DataError

# Seconds to connect, and seconds without a single byte.
_TIMEOUT = (5, 20)
# The original CIFAR host is at times throttled to an hour per archive: look elsewhere first.
_PATIENCE_SECONDS = 600.0
_MEASURE_SECONDS = 15.0


class NotFoundError(DataError):
    """The host answers, but has no such file."""


class TooSlowError(DataError):
    """The download would take longer than trying other sources is worth."""


def download(url: str, folder: Path, reporter: Reporter, *, patient: bool) -> Path:
    """Downloads a file into a folder.

    Args:
        url: An http(s) URL.
        folder: Where the file goes, under the last part of the URL.
        reporter: Gets a progress bar in bytes.
        patient: Whether to stay with a host however slow it is.

    Raises:
        NotFoundError: if the host answers with an HTTP error.
        TooSlowError: if not `patient` and the rest would take over ten minutes.
        DataError: if the host cannot be reached or breaks off.
    """
    import pooch
    import requests

    name = url.split("?")[0].rstrip("/").rsplit("/", 1)[-1]
    with contextlib.ExitStack() as stack:
        logger = pooch.get_logger()
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.WARNING)
        bar = _Bar(f"{name} (bytes)", reporter, stack, patient)
        fetcher = pooch.HTTPDownloader(progressbar=bar, timeout=_TIMEOUT, chunk_size=bar.chunk_size)
        try:
            file = pooch.retrieve(url, known_hash=None, fname=name, path=folder, downloader=fetcher)
        except requests.HTTPError as error:
            raise NotFoundError(str(error).split(" for url")[0]) from error
        except requests.Timeout as error:
            raise DataError("the host does not answer") from error
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            raise DataError("cannot connect, or the connection broke") from error
        except (requests.RequestException, ValueError) as error:
            raise DataError(str(error).splitlines()[0]) from error
        except OSError as error:
            raise DataError(f"cannot write to {folder} ({error.strerror or error})") from error
    path = Path(file)
    if bar.total and path.stat().st_size < bar.total:
        raise DataError(f"the connection broke after {path.stat().st_size} of {bar.total} bytes")
    return path


class _Bar:
    """What pooch calls a progress bar, passing on to the reporter."""

    chunk_size = 1 << 16

    def __init__(self, description: str, reporter: Reporter, stack: contextlib.ExitStack, patient: bool):
        self._description, self._reporter, self._stack, self._patient = description, reporter, stack, patient
        self._advance: Callable[[int], None] | None = None
        self._start = time.monotonic()
        self._done = 0
        self.total = 0

    def update(self, n: int) -> None:
        if self._advance is None:
            progress = self._reporter.progress(self._description, self.total or None)
            self._advance = self._stack.enter_context(progress)
        # pooch counts the last chunk as a whole one, and then all once more.
        n = min(n, self.total - self._done) if self.total else n
        if n > 0:
            self._advance(n)
            self._done += n
        self._give_up_if_slow()

    def _give_up_if_slow(self) -> None:
        elapsed = time.monotonic() - self._start
        if self._patient or not self.total or elapsed < _MEASURE_SECONDS:
            return
        left = elapsed * (self.total - self._done) / self._done
        if left > _PATIENCE_SECONDS:
            rate = self._done / elapsed / 1000
            raise TooSlowError(f"{rate:.0f} kB/s, {left / 60:.0f} minutes to go: left for last")

    def reset(self) -> None:
        pass

    def close(self) -> None:
        pass
