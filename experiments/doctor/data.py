"""The data sets: prepared or not, and whether the decoded cache is of what is prepared."""

import importlib.util
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

from experiments.doctor.config import DoctorConfig
from experiments.doctor.finding import Finding, note, ok, problem
from experiments.doctor.machine import data_folder
from jax_resnet.data.prepared.cache import cache_path, read_cache
from jax_resnet.data.prepared.read import Prepared, find_complete
from jax_resnet.data.registry import DATASETS, DatasetSpec
from jax_resnet.errors import DataError

__all__ = ["data_sets"]

MIB = 2**20
ADVICE = "delete that folder, or name another by --data-dir"


def data_sets(config: DoctorConfig) -> Iterator[Finding]:
    """One line per data set."""
    for name, spec in DATASETS.items():
        try:
            yield from digits() if spec.family == "digits" else state(config, spec)
        except Exception as error:  # one data set must not lose the others
            text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            yield problem("data", f"{name}: {text}", "check that the data folder can be read")


def digits() -> Iterator[Finding]:
    """scikit-learn's digits, which need no preparation."""
    if importlib.util.find_spec("sklearn") is None:
        yield ok("data", "digits: scikit-learn is not installed (pip install -e '.[digits]')")
    else:
        yield ok("data", "digits: in scikit-learn")


def state(config: DoctorConfig, spec: DatasetSpec) -> Iterator[Finding]:
    """What is prepared of a data set, and its cache."""
    root, said = data_folder(config), _Lines()
    try:
        prepared = find_complete(root, spec, said)
    except DataError as error:
        yield problem("data", f"{spec.name}: {str(error).partition(';')[0]}", ADVICE)
        return
    for line in said.lines:
        yield note("data", f"{spec.name}: {line}")
    if prepared is None:
        yield ok("data", f"{spec.name}: not prepared in {root}; the first program that uses it downloads it")
        return
    yield cached(config, spec, prepared)


def cached(config: DoctorConfig, spec: DatasetSpec, prepared: Prepared) -> Finding:
    """Whether the cache of decoded images is of the files that are prepared."""
    path = cache_path(data_folder(config) / spec.name)
    where = f"{spec.name}: prepared in {prepared.folder}"
    again = "nothing to do: the next program that reads the data makes it anew"
    try:
        dataset = read_cache(path, spec, prepared.fingerprint())
    except (ValueError, OSError) as error:
        return note("data", f"{where}; decoded cache: {error}", again)
    if dataset is None:
        return note(
            "data", f"{where}; decoded cache {'of other files' if path.exists() else 'not there'}", again
        )
    sizes = f"{len(dataset.train):,} and {len(dataset.test):,} images"
    return ok("data", f"{where}, {sizes}; decoded cache valid, {path.stat().st_size / MIB:,.0f} MiB")


class _Lines:
    """A reporter that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def progress(self, description: str, total: int | None) -> AbstractContextManager:
        return nullcontext(lambda n: None)
