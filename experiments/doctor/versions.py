"""Versions of what is installed, and whether it fits together."""

import importlib.metadata
import importlib.util
import platform
from collections.abc import Iterator
from pathlib import Path

import jax_resnet
from experiments.doctor.config import DoctorConfig
from experiments.doctor.finding import Finding, note, ok, problem

__all__ = ["versions"]

REQUIRED = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "safetensors")
# The modules of each extra, see pyproject.toml.
EXTRAS = {
    "experiments": ("jinja2", "matplotlib", "rich", "tensorboardX"),
    "data": ("tensorflow_datasets", "array_record", "importlib_resources", "PIL", "pooch"),
    "digits": ("PIL", "sklearn"),
    "stream": ("grain",),
    "export": ("flatbuffers", "onnx"),
    "torch": ("torch",),
}
OTHERS = (
    "torch",
    "grain",
    "tensorflow-datasets",
    "onednn-cpu-gomp",
    "jax-cuda13-plugin",
    "jax-cuda12-plugin",
    "libtpu",
)


def versions(config: DoctorConfig) -> Iterator[Finding]:
    """Versions of Python, this project and the packages that it needs."""
    yield ok(
        "project", f"jax_resnet {jax_resnet.__version__}, {commit()}; Python {platform.python_version()}"
    )
    found = {name: version(name) for name in REQUIRED}
    yield ok("packages", ", ".join(f"{name} {value}" for name, value in found.items() if value), **found)
    others = {name: value for name in OTHERS if (value := version(name))}
    if others:
        yield ok("packages", ", ".join(f"{name} {value}" for name, value in others.items()), **others)
    if missing := [name for name, value in found.items() if value is None]:
        yield problem(
            "packages", f"not installed: {', '.join(missing)}", "pip install -e '.[experiments,cpu]'"
        )
    yield from too_old()
    here, used = Path(__file__).resolve().parents[2], Path(jax_resnet.__file__).resolve().parents[1]
    if here != used:
        yield problem(
            "project",
            f"jax_resnet is imported from {used}, the experiments from {here}",
            f"run from {here}, after pip install -e . there",
        )
    lacking = [extra for extra, modules in EXTRAS.items() if not all(map(is_there, modules))]
    if "experiments" in lacking or "data" in lacking:
        yield problem(
            "extras", f"not installed: {', '.join(lacking)}", "pip install -e '.[experiments]' (or '.[all]')"
        )
    elif lacking:
        yield note(
            "extras", f"not installed: {', '.join(lacking)}", "only if you need them: pip install -e '.[all]'"
        )


def too_old() -> Iterator[Finding]:
    """Packages that are older than this project needs, where its installation says what it needs."""
    try:
        from packaging.requirements import Requirement

        needed = importlib.metadata.requires("jax-resnet") or []
    except (ImportError, importlib.metadata.PackageNotFoundError):
        return
    for requirement in map(Requirement, needed):
        value = version(requirement.name)
        outside = value is not None and not requirement.specifier.contains(value, prereleases=True)
        if outside and requirement.marker is None:
            yield problem(
                "packages",
                f"{requirement.name} {value} is not {requirement.specifier}",
                f"pip install '{requirement}'",
            )


def version(name: str) -> str | None:
    """The version of an installed package; None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def is_there(module: str) -> bool:
    """Whether a module can be found; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def commit() -> str:
    """The commit of this checkout in words."""
    try:
        from experiments.runs.environment import commit as find_commit
    except Exception:  # without a jax that works: with another jaxlib it raises RuntimeError
        return "commit unknown"
    return (
        f"commit {found[:12]}{'-dirty' * found.endswith('-dirty')}"
        if (found := find_commit())
        else "no commit known"
    )
