"""Opening a trained network: a run, an exported checkpoint, a file of weights, or pretrained weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from flax import linen as nn

from experiments.inference.config import NetworkConfig
from experiments.inference.names import is_pretrained, say_if_hidden
from experiments.inference.network import count_outputs, read_variables
from experiments.program.errors import ConfigError, ExperimentError
from experiments.runs.reading import UnreadableError, read_json
from experiments.settings.fields import flag_of
from jax_resnet import checkpoint
from jax_resnet.checkpoint.finite import NonFiniteError, check_finite
from jax_resnet.models import create_model
from jax_resnet.pretrained import Card, load_pretrained

__all__ = ["TrainedNetwork", "open_network"]


class TrainedNetwork(NamedTuple):
    """A network with its weights.

    Attributes:
        name: Name of the network.
        model: The network.
        variables: ``{"params", "batch_stats"}``.
        config: What a checkpoint of it says: ``config["model"]``, the arguments of ``create_model``, and more
            where the network comes from a checkpoint.
        card: The card of pretrained weights; None for others.
        passed_over: Whether it is not the checkpoint that was asked for, which is damaged.
    """

    name: str
    model: nn.Module
    variables: dict[str, Any]
    config: dict[str, Any]
    card: Card | None = None
    passed_over: bool = False

    @property
    def data(self) -> dict[str, Any]:
        """What is known of the data it was trained on: ``name``, ``mean``, ``std``, ``class_names``,
        ``image_shape``; empty for a file of weights.
        """
        data: dict[str, Any] = self.config.get("data", {})
        return data


def open_network(path: str, config: NetworkConfig, say: Callable[[str], None]) -> TrainedNetwork:
    """Reads a network and its weights.

    Args:
        path: A run folder, an exported checkpoint, a file of weights, or the name of pretrained weights.
        config: Which checkpoint of a run; which network, for a file.
        say: Called with a line about checkpoints passed over, or which of several networks was taken.

    Raises:
        ConfigError: A file without ``--arch``, an unknown network, weights that do not fit it, or flags that
            are not for weights of this kind.
        ExperimentError: The weights hold NaN or infinity.
        jax_resnet.errors.CheckpointError: The checkpoint cannot be read.
        jax_resnet.errors.WeightsError: The pretrained weights are damaged.
    """
    network = _open(path, config, say)
    try:
        check_finite(network.variables)  # logits need not show it: a ReLU may drop NaN
    except NonFiniteError as error:
        raise ExperimentError(
            f"{path} is of a training that diverged: {error.leaf} holds NaN or infinity"
        ) from None
    return network


def _open(path: str, config: NetworkConfig, say: Callable[[str], None]) -> TrainedNetwork:
    is_run = Path(path).is_dir() and not checkpoint.is_checkpoint(Path(path))
    if config.which != NetworkConfig().which and not is_run:
        raise ConfigError(f"--which {config.which} is for a run, not for {path}: leave it out")
    if is_pretrained(path):
        return _known(path, config, _open_pretrained(path))
    say_if_hidden(path, say)
    if Path(path).is_dir():
        damaged: list[int] = []

        def pass_over(step: int, reason: str) -> None:
            damaged.append(step)
            say(f"checkpoint {step} is damaged: {reason}")

        model, variables, written = checkpoint.restore(path, config.which, on_broken=pass_over)
        network = TrainedNetwork(written["model"]["name"], model, variables, written)
        lost = bool(damaged) and _best_step(Path(path)) in (None, *damaged)
        return _known(path, config, network._replace(passed_over=lost))
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


def _best_step(run: Path) -> int | None:
    """The step of a run's best checkpoint, as its summary says; None where that is not known."""
    try:
        step = read_json(run / "summary.json").get("best_step")
    except UnreadableError:
        return None
    return step if isinstance(step, int) else None


def _known(path: str, config: NetworkConfig, network: TrainedNetwork) -> TrainedNetwork:
    """A network that its weights name; flags that say something else are refused, not ignored."""
    if config.arch not in (None, network.name):
        raise ConfigError(f"--arch {config.arch}: {path} is of a {network.name}; leave --arch out")
    for name in ("stem", "shortcut", "variant"):
        if getattr(config, name) != getattr(NetworkConfig(), name):
            raise ConfigError(f"{flag_of(name)} is for a file of weights, not for {path}: leave it out")
    return network


def _open_pretrained(name: str) -> TrainedNetwork:
    model, variables, card = load_pretrained(name)
    content = json.loads(card.to_json())  # with the lists and dicts of a checkpoint's config
    data = {key: content[key] for key in ("mean", "std", "class_names", "image_shape")}
    written = {
        "model": {"name": card.arch, **content["options"]},
        "data": {"name": card.dataset, **data},
    }
    return TrainedNetwork(card.arch, model, variables, written, card)
