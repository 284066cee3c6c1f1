"""The work of ``python -m experiments.publish``: a run's weights and their card, both checked first."""

import dataclasses
import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from experiments.inference.config import EvaluateConfig, PublishConfig
from experiments.inference.evaluation import Evaluation, evaluate
from experiments.inference.finished import FinishedRun, protocol_of, read_finished
from experiments.inference.names import is_there
from experiments.program.console import Console
from experiments.program.errors import ConfigError, ExperimentError
from jax_resnet import checkpoint
from jax_resnet._files import replacing
from jax_resnet.checkpoint.finite import check_finite
from jax_resnet.convert import from_torch, read_state_dict, to_torch, write_state_dict
from jax_resnet.data import Dataset, Split
from jax_resnet.data.augment import normalize
from jax_resnet.models import create_model
from jax_resnet.models.registry import find
from jax_resnet.pretrained import Card, load_pretrained, parse_card
from jax_resnet.pretrained.files import CARD, FOLDER, WEIGHTS
from jax_resnet.train import make_eval_step

__all__ = ["publish", "publish_options"]

WEIGHTS_LICENSE = "Apache-2.0"
KRIZHEVSKY = "none stated; by Alex Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
DATA_LICENSES: Mapping[str, str] = {
    "cifar10": KRIZHEVSKY,
    "cifar100": KRIZHEVSKY,
    "mnist": "none stated with the files; by Yann LeCun, Corinna Cortes and Christopher Burges",
    "digits": "CC BY 4.0; Optical Recognition of Handwritten Digits by E. Alpaydin and C. Kaynak, UCI, 1998",
}

# Arguments of ``create_model`` that are about how a network computes, not what: a card leaves them out.
COMPUTATION = ("name", "dtype", "scan_layers", "remat")
# The published file must do about as well as the run reported, which may have computed in bfloat16.
LARGEST_DIFFERENCE = 0.005
COMPARED_IMAGES = 100


def publish(config: PublishConfig, console: Console) -> Card:
    """Publishes a run; prints what was checked. On an error nothing is written or replaced.

    Raises:
        ConfigError: An invalid setting, or weights of that name exist.
        ExperimentError: The run is not finished, or its published weights do not do what it reports.
        jax_resnet.errors.CheckpointError: The checkpoint cannot be read, or holds NaN or infinity.
        jax_resnet.errors.DataError: The test set is not available.
        jax_resnet.errors.WeightsError: The weights have no names in PyTorch, or the card would be invalid.
    """
    config.check()
    run = read_finished(Path(config.run))
    arch, dataset_name = run.config["model"]["name"], run.config["data"]["name"]
    if any(isinstance(value, list) for value in run.config["data"]["mean"]):
        raise ConfigError(
            f"{config.run} was trained with --center per-pixel, and a card has one mean per channel: "
            "export the run instead"
        )
    name = config.name or f"{arch}.{dataset_name}"
    target = Path(config.folder) if config.folder else Path(str(FOLDER))
    if (target / (name + CARD)).exists() and not config.overwrite:
        raise ConfigError(f"{name} is published already: --overwrite it, or give another --name")
    origin = _origin(config, run, console)
    restored = checkpoint.restore(config.run, which=run.step)
    check_finite(restored.variables)
    trained_in = run.settings.data.data_dir  # of images in a folder, the only place where they are
    data_dir = config.data_dir or (trained_in if trained_in and is_there(trained_in) else None)
    source = dataclasses.replace(run.settings.data, data_dir=data_dir, archive=config.archive, mirror=())
    source.check()
    data = source.load(console)
    data = data.padded(find(arch).image_shape[:2])
    with tempfile.TemporaryDirectory() as draft:
        path = Path(draft) / (name + WEIGHTS)
        result = _write_weights(path, run, restored, data, config.half, console)
        card = parse_card(_card(name, run, origin, path, data, result).to_json())
        (Path(draft) / (name + CARD)).write_text(card.to_json(), encoding="utf-8")
        load_pretrained(name, folder=draft)
        # Both are written before one takes its place. The stack ends in reverse order: the card, which says
        # that they are published, comes last.
        with ExitStack() as drafts:
            for suffix in (CARD, WEIGHTS):
                beside = drafts.enter_context(replacing(target / (name + suffix)))
                shutil.copyfile(Path(draft) / (name + suffix), beside)
    _print_margin(result, console)
    size = (target / (name + WEIGHTS)).stat().st_size
    console.line(
        f"published {name} ({size / 1e6:.1f} MB) in {target}: test accuracy {card.test_accuracy:.4f}"
    )
    return card


def publish_options(model_arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of ``create_model`` that a card has, from those of a checkpoint."""
    return {key: value for key, value in model_arguments.items() if key not in COMPUTATION}


def _origin(config: PublishConfig, run: FinishedRun, console: Console) -> dict[str, str]:
    """Command and commit, from the run's records; flags stand in only for what is not there."""
    recorded = {"command": run.command, "commit": run.config.get("commit")}
    given = {"command": config.command, "commit": config.commit}
    origin = {}
    for key, value in recorded.items():
        if value and given[key]:
            raise ConfigError(f"--{key}: the run's own is known, {value}: leave the flag out")
        if not (value or given[key]):
            raise ConfigError(f"the run's {key} is not known from its records: give --{key}")
        origin[key] = str(value or given[key])
    if origin["commit"].endswith("-dirty"):
        console.line(f"note: trained with changes that commit {origin['commit']} does not have")
    return origin


def _write_weights(
    path: Path,
    run: FinishedRun,
    restored: checkpoint.Restored,
    data: Dataset[Split],
    half: bool,
    console: Console,
) -> Evaluation:
    """Writes the weights, reads them back, compares and evaluates them."""
    arguments = run.config["model"]
    model = create_model(arguments["name"], **publish_options(arguments))
    state_dict = to_torch(restored.variables, restored.model)
    write_state_dict(path, state_dict)
    loaded = from_torch(read_state_dict(path), model, image_shape=data.test.image_shape)
    # The run's own network, in float32: the same numbers from the same weights.
    own = create_model(**{**arguments, "dtype": "float32"})
    _compare_logits((own, restored.variables), (model, loaded), run, data, console)
    result = _evaluate(model, loaded, run, data, console)
    difference = result.accuracy - run.test_accuracy
    console.line(
        f"test accuracy {result.accuracy:.4f} in float32 on {jax.devices()[0].platform}; "
        f"the run reported {run.test_accuracy:.4f}"
    )
    if abs(difference) > LARGEST_DIFFERENCE:
        raise ExperimentError(
            f"the published weights would have a test accuracy of {result.accuracy:.4f}, the run reported "
            f"{run.test_accuracy:.4f}: too far apart for rounding"
        )
    if not half:
        return result
    write_state_dict(path, _halved(state_dict))
    loaded = from_torch(read_state_dict(path), model, image_shape=data.test.image_shape)
    halved = _evaluate(model, loaded, run, data, console)
    if not np.isfinite(halved.logits).all() or halved.accuracy < result.accuracy:
        raise ExperimentError(
            f"--half: the test accuracy would be {halved.accuracy:.4f} instead of {result.accuracy:.4f}: "
            "leave it out"
        )
    console.line(f"test accuracy {halved.accuracy:.4f} with kernels stored as float16")
    return halved


def _halved(state_dict: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Kernels as float16; biases, scales and statistics, which are few, stay float32."""
    return {key: value.astype(np.float16) if value.ndim > 1 else value for key, value in state_dict.items()}


def _compare_logits(
    own: tuple[nn.Module, Any],
    loaded: tuple[nn.Module, Any],
    run: FinishedRun,
    data: Dataset[Split],
    console: Console,
) -> None:
    """Compares the logits of the checkpoint and of the published file on the first images of the test set."""
    with closing(data.test.eval_batches(min(COMPARED_IMAGES, len(data.test)))) as batches:
        batch = next(batches)
    expected, found = (
        np.asarray(jax.jit(make_eval_step(model, _normalize(run)))(variables, batch)[0])
        for model, variables in (own, loaded)
    )
    difference, largest = float(np.abs(found - expected).max()), float(np.abs(expected).max())
    console.line(f"logits of file and checkpoint differ by {difference:.2g}, the largest is {largest:.3g}")
    if not difference <= 1e-4 * largest:
        raise ExperimentError("the file does not give the logits of the checkpoint: nothing is published")


def _evaluate(
    model: nn.Module, variables: Any, run: FinishedRun, data: Dataset[Split], console: Console
) -> Evaluation:
    step = jax.jit(make_eval_step(model, _normalize(run)))
    with console.progress("test (images)", len(data.test)) as advance:
        return evaluate(step, variables, data.test, EvaluateConfig.batch_size, advance)


def _normalize(run: FinishedRun) -> Any:
    mean, std = run.config["data"]["mean"], run.config["data"]["std"]
    return lambda images: normalize(images, mean, std)


def _card(
    name: str, run: FinishedRun, origin: dict[str, str], path: Path, data: Dataset[Split], result: Evaluation
) -> Card:
    trained_on, summary = run.config["data"], run.summary
    return Card(
        name=name,
        arch=run.config["model"]["name"],
        options=publish_options(run.config["model"]),
        parameters=summary["parameters"],
        dataset=trained_on["name"],
        image_shape=trained_on["image_shape"],
        mean=trained_on["mean"],
        std=trained_on["std"],
        class_names=trained_on["class_names"],
        test_accuracy=result.accuracy,
        test_images=result.images,
        run_test_accuracy=run.test_accuracy,
        val_accuracy=summary["val_accuracy"],
        protocol=protocol_of(run, len(data.train), own_split=data.val is not None),
        **origin,
        seed=summary["seed"],
        epochs=summary["epochs"],
        step=run.step,
        seconds=round(summary["seconds"], 1),
        machine=summary["device"],
        versions=summary["versions"] if isinstance(summary.get("versions"), dict) else run.config["versions"],
        weights_license=WEIGHTS_LICENSE,
        data_license=DATA_LICENSES.get(trained_on["name"], "see the data set's own terms"),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def _print_margin(result: Evaluation, console: Console) -> None:
    """Says how near the nearest decision is: whether another machine's rounding could turn it."""
    top = np.sort(result.logits, axis=1)[:, -2:]
    console.line(f"the best two logits of every image are at least {np.diff(top).min():.1e} apart")
