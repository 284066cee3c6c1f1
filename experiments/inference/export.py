"""What ``python -m experiments.export`` does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flax import linen as nn

from experiments.inference.config import ExportConfig
from experiments.inference.network import count_outputs
from experiments.inference.trained import TrainedNetwork, open_network
from experiments.program.errors import ConfigError, ExperimentError
from jax_resnet import checkpoint
from jax_resnet._files import write_bytes
from jax_resnet.convert import to_torch, write_state_dict
from jax_resnet.convert.keys import check_style
from jax_resnet.errors import ExportError, WeightsError
from jax_resnet.models import fold_batch_norm
from jax_resnet.models.registry import usual_image_shape

__all__ = ["export"]


def export(config: ExportConfig) -> str:
    """Exports a network; returns one line about the file.

    Raises:
        ConfigError: Weights that do not fit, or settings that the network cannot have.
        ExperimentError: A package is missing, or the network cannot be exported.
        OSError: The file cannot be written.
        jax_resnet.checkpoint.CheckpointError: The checkpoint cannot be read.
    """
    try:
        check_style(config.style)
    except WeightsError as error:
        raise ConfigError(f"--style: {error}") from None
    network = open_network(config.source, config.network, say=print)
    out = Path(config.out or "")
    write = {
        "stablehlo": _write_program,
        "onnx": _write_program,
        "safetensors": _write_state_dict,
        "torch": _write_state_dict,
        "orbax": _write_checkpoint,
    }[config.format or ""]
    try:
        about = write(config, network, out)
    except (ExportError, WeightsError, ImportError) as error:
        raise ExperimentError(f"{config.format}: {error}") from None
    size = sum(file.stat().st_size for file in ([out] if out.is_file() else out.rglob("*")) if file.is_file())
    return f"wrote {out} ({size / 1e6:.1f} MB): {about}"


def _write_program(config: ExportConfig, network: TrainedNetwork, out: Path) -> str:
    from jax_resnet.export import to_onnx, to_stablehlo

    data = network.data
    shape = config.image_shape or tuple(data.get("image_shape") or _usual_shape(network))
    mean, std = config.mean or data.get("mean"), config.std or data.get("std")
    serialize: Callable[..., bytes] = to_onnx if config.format == "onnx" else to_stablehlo
    content = serialize(network.model, network.variables, shape, mean=mean, std=std, fold=config.fold)
    _write(out, lambda: write_bytes(out, content))
    size = "x".join(map(str, shape))
    kind = "uint8 images" if mean else "normalized float32 images"
    return f"{kind} (N, {size}) to float32 logits (N, {count_outputs(network.variables) or 'features'})"


def _usual_shape(network: TrainedNetwork) -> tuple[int, int, int]:
    """The shape of the images that the network was made for."""
    return usual_image_shape(network.config["model"]["name"], str(getattr(network.model, "stem", "")))


def _write_state_dict(config: ExportConfig, network: TrainedNetwork, out: Path) -> str:
    model, variables = _folded(config, network)
    state_dict = to_torch(variables, model, config.style)
    _write(out, lambda: write_state_dict(out, state_dict))
    return f"a state_dict of {len(state_dict)} arrays with names as in {config.style}"


def _write_checkpoint(config: ExportConfig, network: TrainedNetwork, out: Path) -> str:
    _, variables = _folded(config, network)
    settings = dict(network.config)
    if config.fold:
        settings["model"] = {**settings["model"], "folded": True}
    _write(out, lambda: checkpoint.save(out, variables, settings))
    return "a checkpoint, which jax_resnet.checkpoint.restore and orbax read"


def _folded(config: ExportConfig, network: TrainedNetwork) -> tuple[nn.Module, dict[str, Any]]:
    if not config.fold:
        return network.model, network.variables
    try:
        return fold_batch_norm(network.model, network.variables)
    except ValueError as error:
        raise ExportError(f"--fold: {error}") from None


def _write(out: Path, write: Callable[[], None]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    write()
