"""What may stand where weights are named: a path, or the name of weights that the package ships."""

from collections.abc import Callable
from pathlib import Path

from experiments.program.errors import ConfigError
from jax_resnet._files import expand_user
from jax_resnet._text import did_you_mean
from jax_resnet.pretrained import list_pretrained

__all__ = ["check_exists", "is_pretrained", "is_there", "say_if_hidden"]


def is_pretrained(name: str) -> bool:
    """Whether this is the name of the package's weights; a file or folder of that name goes before them."""
    return not Path(name).exists() and name in list_pretrained()


def is_there(place: str) -> bool:
    """Whether a path from a run's settings exists on this machine, as far as this user may see."""
    try:
        return expand_user(place).exists()
    except OSError:
        return False


def check_exists(name: str, flag: str) -> None:
    """Refuses what is neither a path that exists nor the name of the package's weights.

    Raises:
        ConfigError: Naming the flag, with near misses.
    """
    if Path(name).exists() or is_pretrained(name):
        return
    known = list_pretrained()
    hint = did_you_mean(name, known)
    ours = f" or pretrained weights ({', '.join(known)})" if known else ""
    raise ConfigError(
        f"{flag}{name} does not exist"
        + (f"; {hint}" if hint else f": name a run folder, a file of weights{ours}")
    )


def say_if_hidden(name: str, say: Callable[[str], None]) -> None:
    """Says so where a file or folder hides the package's weights of the same name."""
    if Path(name).exists() and name in list_pretrained():
        say(f"{name} is taken from the file or folder of that name, not from the package's weights")
