"""Packages that the programs need beside the library's own."""

from importlib.util import find_spec

from experiments.program.errors import ConfigError

__all__ = ["check_packages", "why_not_imported"]

# What a training records and draws with: a missing one must show at its start, not at its end.
RECORDS = ("matplotlib", "tensorboardX")
OURS = ("experiments", "jax_resnet")


def check_packages() -> None:
    """Checks that what a training needs at its end is installed; nothing is imported, which can take seconds.

    Raises:
        ConfigError: It is not; the message says how to install it.
    """
    if missing := [name for name in RECORDS if find_spec(name) is None]:
        raise ConfigError(_advice(missing[0]))


def why_not_imported(error: ModuleNotFoundError) -> str:
    """One line about a package that is not installed; empty where a module of this project is missing."""
    package = (error.name or "").partition(".")[0]
    return _advice(package) if package and package not in OURS else ""


def _advice(package: str) -> str:
    return (
        f"the package {package} is not installed: pip install -e '.[experiments]' has what the programs need"
    )
