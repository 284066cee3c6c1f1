"""Measures how long sources would take, all at once and in a few seconds."""

import threading
import time
from collections.abc import Sequence

from jax_resnet.data.sources.download import check_url, explain
from jax_resnet.errors import DataError

__all__ = ["measure"]

_PROBE_BYTES = 1 << 20
_CHUNK = 1 << 14


def measure(sources: Sequence[Sequence[str]], seconds: float) -> list[float | DataError]:
    """Estimates the time of each source's download from its first megabyte.

    Args:
        sources: Each source's URLs of its largest file; the second and later ones are tried where the host
            does not have the first.
        seconds: Time for all of them together.

    Returns:
        For each source, the seconds that its file would take, infinity where the host is too slow to say, or
        the error of a host that cannot be reached or does not have the file.
    """
    deadline = time.monotonic() + seconds
    results: list[float | DataError] = [float("inf")] * len(sources)

    def probe(number: int) -> None:
        results[number] = _probe_any(sources[number], deadline)

    # Daemons, because one may still wait for its host when the time is up, and after.
    threads = [threading.Thread(target=probe, args=(i,), daemon=True) for i in range(len(sources))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return list(results)


def _probe_any(urls: Sequence[str], deadline: float) -> float | DataError:
    result: float | DataError = float("inf")
    for url in urls:
        result = _probe(url, deadline)
        if not isinstance(result, DataError):
            return result
    return result


def _probe(url: str, deadline: float) -> float | DataError:
    import requests

    left = max(0.1, deadline - time.monotonic())
    headers = {"Range": f"bytes=0-{_PROBE_BYTES - 1}", "Accept-Encoding": "identity"}
    start = time.monotonic()
    try:
        check_url(url)
        with requests.get(url, headers=headers, stream=True, timeout=(left, left)) as response:
            response.raise_for_status()
            total = _total_bytes(response.headers)
            done = 0
            for chunk in response.iter_content(_CHUNK):
                done += len(chunk)
                if done >= _PROBE_BYTES or time.monotonic() > deadline:
                    break
    except DataError as error:
        return error
    except (requests.RequestException, ValueError, OSError) as error:
        return explain(error)
    elapsed = max(time.monotonic() - start, 1e-6)
    return (total or done) * elapsed / done if done else float("inf")


def _total_bytes(headers: object) -> int:
    """Size of the whole file: from ``Content-Range: bytes 0-99/12345``, or from ``Content-Length``."""
    get = headers.get  # type: ignore[attr-defined]
    text = get("Content-Range", "").rsplit("/", 1)[-1] or get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
