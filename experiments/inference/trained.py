"""Opening a trained network: the folder of a run, an exported checkpoint, or a file of weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from flax import linen as nn

from experiments.inference.config import NetworkConfig
from experiments.inference.network import count_outputs, read_variables
from experiments.program.errors import ConfigError
from jax_resnet import checkpoint
from jax_resnet.models import create_model

__all__ = ["TrainedNetwork", "check_exists", "open_network"]


class TrainedNetwork(NamedTuple):
    """A network with its weights.

    Attributes:
        name: Name of the network.
        model: The network.
        variables: ``{"params", "batch_stats"}``.
        config: What a checkpoint of it says: ``config["model"]``, the arguments of ``create_model``, and more
            where the network comes from a checkpoint.
    """

    name: str
    model: nn.Module
    variables: dict[str, Any]
    config: dict[str, Any]

    @property
    def data(self) -> dict[str, Any]:
        """What is known of the data it was trained on: ``name``, ``mean``, ``std``, ``class_names``,
        ``image_shape``; empty for a file of weights.
        """
        data: dict[str, Any] = self.config.get("data", {})
        return data


def check_exists(path: str, flag: str) -> None:
    """Refuses a path that does not exist.

    Raises:
        ConfigError: Naming the flag.
    """
    if not Path(path).exists():
        raise ConfigError(f"{flag}{path} does not exist: name a run folder or a file of weights")


def open_network(path: str, config: NetworkConfig, say: Callable[[str], None]) -> TrainedNetwork:
    """Reads a network and its weights.

    Args:
        path: A run folder, an exported checkpoint, or a file of weights.
        config: Which checkpoint of a run; which network, for a file.
        say: Called with a line about checkpoints passed over, or which of several networks was taken.

    Raises:
        ConfigError: A file without ``--arch``, an unknown network, or weights that do not fit it.
        jax_resnet.errors.CheckpointError: The checkpoint cannot be read.
    """
    if Path(path).is_dir():
        model, variables, written = checkpoint.restore(
            path, config.which, on_broken=lambda step, reason: say(f"checkpoint {step} is damaged: {reason}")
        )
        return TrainedNetwork(written["model"]["name"], model, variables, written)
    if config.arch is None:
        raise ConfigError("--arch NAME is needed: a file of weights does not name its network")
    arguments: dict[str, Any] = {"name": config.arch, "stem": config.stem}
    if config.variant is not None:
        arguments["variant"] = config.variant
    if config.shortcut != "default":
        arguments["shortcut"] = config.shortcut
    try:
        model = create_model(**arguments)
    except ValueError as error:
        raise ConfigError(f"--arch {config.arch}: {error}") from None
    variables = read_variables(path, model, say)
    arguments["num_classes"] = count_outputs(variables) or 0
    model = model.clone(num_classes=arguments["num_classes"])
    return TrainedNetwork(config.arch, model, variables, {"model": arguments})
