"""From a Config and a data set to everything that a loop needs."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from flax import linen as nn

from experiments.inference.network import initialize_from
from experiments.program.errors import ConfigError, ExperimentError
from experiments.settings.config import Config
from jax_resnet import optim
from jax_resnet.data import Dataset, Split
from jax_resnet.data.augment import make_augment, make_mix, normalize
from jax_resnet.data.order import Batches, steps_per_epoch
from jax_resnet.data.splits import hold_out
from jax_resnet.errors import BatchSizeError, ValSizeError
from jax_resnet.models import create_model
from jax_resnet.models.registry import find
from jax_resnet.parallel import Plan, data_mesh, process_shard
from jax_resnet.train import (
    Batch,
    Metrics,
    TrainState,
    Variables,
    create_state,
    make_eval_step,
    make_train_step,
    make_train_steps,
)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What a run works with; nothing in it changes.

    Attributes:
        config: As told.
        described: The config as checkpoints carry it, with what a reader of the network needs to know.
        train: Images to train on.
        val: Images held out, or None.
        test: The test set.
        model: The network.
        tx: The optimizer.
        schedule: From step to learning rate.
        steps_per_epoch: Updates in a pass.
        total_steps: Updates in the whole training.
        plan: How they are spread over devices.
        train_step: Compiled; takes this process's rows of a batch, donates the state.
        train_steps: Likewise, of ``steps_per_dispatch`` batches in one array.
        steps_per_dispatch: How many steps the device makes by itself.
        eval_step: Compiled; takes this process's rows, returns the logits of all.
        state: The initial state.
        parameters: Number of trainable ones.
    """

    config: Config
    described: dict[str, Any]
    train: Split
    val: Split | None
    test: Split
    model: nn.Module
    tx: optax.GradientTransformation
    schedule: optim.Schedule
    steps_per_epoch: int
    total_steps: int
    plan: Plan
    train_step: Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
    train_steps: Callable[[TrainState, Batch], tuple[TrainState, Metrics]] | None
    steps_per_dispatch: int
    eval_step: Callable[[Variables, Batch], tuple[jax.Array, Metrics]]
    state: TrainState
    parameters: int

    def batches(self, start: int) -> Batches:
        """Training batches from step ``start`` on, without end."""
        return self.train.train_batches(
            self.config.optim.batch_size,
            seed=self.config.run.seed,
            start=start,
            shard=process_shard(),
        )

    def position(self, step: int) -> dict[str, Any]:
        """Where the stream of training examples is after ``step`` updates, as JSON can hold it.

        It is the same for any number of processes and workers: what all together have consumed, of what.
        """
        return {"examples": step * self.config.optim.batch_size, "of": self.train.fingerprint}

    def learning_rate(self, step: int) -> float:
        """Of the update that follows ``step`` updates."""
        return float(self.schedule(np.int32(step)))


def build(config: Config, dataset: Dataset[Split]) -> Experiment:
    """Makes network, optimizer, steps and initial state.

    Raises:
        ConfigError: Settings that do not go with the data.
    """
    mean, std = config.data.mean or dataset.mean, config.data.std or dataset.std
    dataset = dataset.padded(find(config.model.arch).image_shape[:2])
    image_shape = dataset.train.image_shape
    if len(mean) != image_shape[-1] or len(std) != image_shape[-1]:
        raise ConfigError(
            f"--mean and --std need {image_shape[-1]} numbers for the channels of {dataset.name}"
        )
    training, val = dataset.train, dataset.val
    try:
        if config.data.val_size and val is None:
            training, val = hold_out(dataset.train, config.data.val_size, config.run.seed)
        per_epoch = steps_per_epoch(len(training), config.optim.batch_size)
    except ValSizeError as error:
        raise ConfigError(f"--val-size: {error}") from None
    except BatchSizeError as error:
        raise ConfigError(f"--batch-size: {error}") from None
    plan = make_plan(config)
    total = config.optim.steps or config.optim.epochs * per_epoch

    arguments = config.model_arguments(dataset.num_classes)
    model = create_model(**arguments)
    if config.parallel.remat:
        model = model.clone(remat=[f"stage{i + 1}" for i in range(len(model.stage_sizes))])
    schedule = make_schedule(config, total, per_epoch)
    tx = make_optimizer(config, schedule)
    try:
        state = create_state(model, tx, jax.random.key(config.run.seed), image_shape)
    except (ValueError, TypeError) as error:
        size = "x".join(map(str, image_shape))
        raise ExperimentError(
            f"{config.model.arch} cannot take {dataset.name}'s {size} images: {error}"
        ) from None
    if config.model.init_from:
        variables, _ = initialize_from(config.model.init_from, model, state.variables)
        state = state.replace(**variables)
    if config.optim.ema:
        state = state.averaging()
    augment = make_augment(
        mean,
        std,
        crop_padding=0 if dataset.streamed else config.data.crop_padding,
        flip=config.data.flip,
        randaugment_ops=config.data.randaugment,
        randaugment_magnitude=config.data.randaugment_magnitude,
        cutout_size=config.data.cutout,
    )
    mix = make_mix(dataset.num_classes, mixup_alpha=config.data.mixup, cutmix_alpha=config.data.cutmix)
    train_step = make_train_step(
        model,
        tx,
        augment,
        mix=mix,
        label_smoothing=config.optim.label_smoothing,
        ema=config.optim.ema,
        accumulate=config.parallel.accumulate,
        axis_name=plan.axis_name,
        batch_norm=config.parallel.bn,
    )
    eval_step = make_eval_step(model, lambda images: normalize(images, mean, std), axis_name=plan.axis_name)
    state = plan.place(state)
    at_once = steps_per_dispatch(config)
    return Experiment(
        config=config,
        described={
            "model": arguments,
            "data": {
                "name": dataset.name,
                "mean": list(mean),
                "std": list(std),
                "class_names": list(dataset.class_names),
                "image_shape": list(image_shape),
            },
            "config": dataclasses.asdict(config),
        },
        train=training,
        val=val,
        test=dataset.test,
        model=model,
        tx=tx,
        schedule=schedule,
        steps_per_epoch=per_epoch,
        total_steps=total,
        plan=plan,
        train_step=plan.train_step(train_step, state),
        train_steps=plan.train_steps(make_train_steps(train_step), state) if at_once > 1 else None,
        steps_per_dispatch=at_once,
        eval_step=plan.eval_step(eval_step),
        state=state,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    )


def make_plan(config: Config) -> Plan:
    """How the steps are spread over the devices there are.

    Raises:
        ConfigError: The batch cannot be shared equally.
    """
    told, mesh = config.parallel, data_mesh()
    size, parts = config.optim.batch_size, mesh.size * told.accumulate
    if size % parts:
        below = size // parts * parts
        near = " or ".join(str(n) for n in (below, below + parts) if n)
        by = f"{mesh.size} devices" + (f" in {told.accumulate} parts" if told.accumulate > 1 else "")
        raise ConfigError(f"--batch-size {size} cannot be shared equally by {by}: {near} can")
    mode = told.parallel
    if mode == "auto":
        mode = "shard_map" if told.bn == "per-device" else "jit"
    return Plan(mesh, mode, shard_params=told.shard_params)


def steps_per_dispatch(config: Config) -> int:
    """As told, but on CPU one: a convolution inside a loop is several times slower there."""
    return 1 if jax.default_backend() == "cpu" else config.parallel.steps_per_dispatch


def make_optimizer(config: Config, schedule: optim.Schedule) -> optax.GradientTransformation:
    """The optimizer, at the schedule's learning rate."""
    told = config.optim
    mask = None if told.decay_all else optim.decay_mask
    if told.optimizer == "sgd":
        tx = optim.sgd(
            schedule,
            momentum=told.momentum,
            nesterov=told.nesterov,
            weight_decay=told.weight_decay,
            mask=mask,
        )
    else:
        tx = optim.adam(
            schedule,
            betas=(told.momentum, told.beta2),
            weight_decay=told.weight_decay,
            decoupled=told.optimizer == "adamw",
            mask=mask,
        )
    return optax.chain(tx, optim.warm_up_by_error(told.warmup_error)) if told.warmup_error else tx


def make_schedule(config: Config, total: int, per_epoch: int) -> optim.Schedule:
    """The learning rate over ``total`` steps, ``per_epoch`` to a pass."""
    optimizer = config.optim
    peak = optimizer.learning_rate * (optimizer.batch_size / 256 if optimizer.scale_learning_rate else 1)
    if optimizer.schedule == "constant":
        schedule = optim.piecewise(peak, [])
    elif optimizer.schedule == "step":
        edges = [round(share * total) for share in optimizer.milestones]
        schedule = optim.piecewise(peak, edges, optimizer.factor)
    elif optimizer.schedule == "cosine":
        schedule = optim.cosine(peak, total)
    else:
        schedule = optim.one_cycle(peak, total, peak_at=optimizer.peak_at)
    return optim.warmup(schedule, round(optimizer.warmup_epochs * per_epoch))
