"""From a Config and a data set to everything that a training loop needs."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from flax import linen as nn

from experiments.inference.network import initialize_from
from experiments.program.errors import ConfigError, ExperimentError
from experiments.settings.config import Config
from experiments.training.optimizer import make_optimizer, make_schedule
from experiments.training.prepare import TrainingData, prepare_data
from experiments.training.whiten import whitened
from jax_resnet import optim
from jax_resnet._text import first_line
from jax_resnet.data import Dataset, Split
from jax_resnet.data.augment import make_augment, make_mix, normalize
from jax_resnet.data.order import Batches
from jax_resnet.errors import TrainError
from jax_resnet.models import create_model
from jax_resnet.parallel import Plan, data_mesh, process_shard
from jax_resnet.train import (
    EvalStep,
    TrainState,
    TrainStep,
    create_state,
    make_eval_step,
    make_train_step,
    make_train_steps,
)

__all__ = ["Experiment", "Steps", "build_experiment", "init_state", "make_model", "make_plan", "make_steps"]


@dataclasses.dataclass(frozen=True)
class Steps:
    """The compiled steps; each takes the rows of a batch that this process holds.

    Attributes:
        train: One update; donates the state.
        train_many: ``per_dispatch`` updates in one program, or None.
        per_dispatch: Updates per call of ``train_many``.
        evaluate: Logits and metrics of the whole batch.
        small: The steps for small images, or None.
        small_until: The step from which on images have their own size.
    """

    train: TrainStep
    train_many: TrainStep | None
    per_dispatch: int
    evaluate: EvalStep
    small: "Steps | None" = None
    small_until: int = 0

    def at(self, step: int) -> "Steps":
        """The steps for the images that follow ``step`` updates."""
        return self.small if self.small is not None and step < self.small_until else self


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything a run works with; nothing in it changes.

    Attributes:
        config: The settings.
        data: Splits and normalization.
        model: The network.
        schedule: From step to learning rate.
        plan: How steps are spread over devices.
        steps: The compiled steps.
        state: The initial state.
    """

    config: Config
    data: TrainingData
    model: nn.Module
    schedule: optim.Schedule
    plan: Plan
    steps: Steps
    state: TrainState

    @property
    def metadata(self) -> dict[str, Any]:
        """What checkpoints say about the run: the network, its data and all settings, as JSON can hold it."""
        return {
            "model": self.config.model_arguments(self.data.num_classes),
            "data": self.data.metadata,
            "config": dataclasses.asdict(self.config),
        }

    @property
    def parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.state.params))

    def epoch(self, step: int) -> float:
        """Passes over the training images after ``step`` updates."""
        return step / self.data.steps_per_epoch

    def learning_rate(self, step: int) -> float:
        """The learning rate of the update that follows ``step`` updates."""
        return float(_at(self.schedule, np.int32(step)))

    def batches(self, start: int) -> Batches:
        """Training batches from step ``start`` on, without end."""
        return self.data.train.train_batches(
            self.config.optim.batch_size,
            seed=self.config.run.seed,
            start=start,
            shard=process_shard(),
        )

    def position(self, step: int) -> dict[str, Any]:
        """Where the stream of training examples is after ``step`` updates, as JSON can hold it.

        It does not depend on the number of processes or workers: what all of them have consumed, of what.
        """
        return {"examples": step * self.config.optim.batch_size, "of": self.data.train.fingerprint}


@functools.partial(jax.jit, static_argnums=0)
def _at(schedule: optim.Schedule, step: Any) -> jax.Array:
    """The learning rate at a step, as one program: a schedule consists of a dozen small operations."""
    return schedule(step)


def build_experiment(
    config: Config,
    dataset: Dataset[Split],
    *,
    steps_per_dispatch: int | None = None,
    restored: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Experiment:
    """Makes the network, the optimizer, the compiled steps and the initial state.

    Args:
        config: The settings.
        dataset: The data set.
        steps_per_dispatch: Steps per program; None for the settings', which on CPU is 1, as a convolution
            inside a loop is several times slower there.
        restored: A checkpoint replaces the initial state: ``--init-from`` and ``--whiten`` are not looked at.
        say: Called with a line for people about the weights of ``--init-from``.

    Raises:
        ConfigError: Settings that do not fit the data or the devices.
        ExperimentError: The network cannot take the images.
    """
    if steps_per_dispatch is None:
        steps_per_dispatch = 1 if jax.default_backend() == "cpu" else config.parallel.steps_per_dispatch
    data = prepare_data(config, dataset)
    plan = make_plan(config)
    model = make_model(config, data)
    schedule = make_schedule(config.optim, data.total_steps, data.steps_per_epoch)
    tx = make_optimizer(config.optim, schedule)
    state = plan.place(init_state(config, model, tx, data, restored=restored, say=say))
    steps = make_steps(config, model, tx, data, plan, state, steps_per_dispatch)
    return Experiment(config, data, model, schedule, plan, steps, state)


def make_plan(config: Config) -> Plan:
    """How the steps are spread over the devices of this machine or cluster.

    Raises:
        ConfigError: The batch cannot be divided equally.
    """
    parallel, mesh = config.parallel, data_mesh()
    size, parts = config.optim.batch_size, mesh.size * parallel.accumulate
    if size % parts:
        below = size // parts * parts
        near = " or ".join(str(n) for n in (below, below + parts) if n)
        by = f"{mesh.size} devices" + (f" in {parallel.accumulate} parts" if parallel.accumulate > 1 else "")
        raise ConfigError(f"--batch-size {size} cannot be shared equally by {by}: {near} can")
    mode = parallel.parallel
    if mode == "auto":
        mode = "shard_map" if parallel.bn == "per-device" else "jit"
    return Plan(mesh, mode, shard_params=parallel.shard_params)


def make_model(config: Config, data: TrainingData) -> nn.Module:
    """The network for the data's classes."""
    model = create_model(**config.model_arguments(data.num_classes))
    if config.parallel.remat:
        model = model.clone(remat=[f"stage{i + 1}" for i in range(len(model.stage_sizes))])
    return model


def init_state(
    config: Config,
    model: nn.Module,
    tx: optax.GradientTransformation,
    data: TrainingData,
    *,
    restored: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> TrainState:
    """The initial state: fresh, or from ``--init-from``; with a moving average for ``--ema``.

    Where a checkpoint is restored it serves for its shapes, and is fresh: what it was made from may be gone.

    Raises:
        ConfigError: The weights of ``--init-from`` do not fit, or names of ``--freeze``, ``--rates`` or
            ``--decays`` do not fit the parameters or each other.
        ExperimentError: The network cannot take the images.
    """
    try:
        state = create_state(model, tx, jax.random.key(config.run.seed), data.image_shape)
    except TrainError:  # the optimizer's, which speaks for itself
        raise
    except (ValueError, TypeError) as error:
        size = "x".join(map(str, data.image_shape))
        raise ExperimentError(
            f"{config.model.arch} cannot take {data.name}'s {size} images: {error}"
        ) from None
    if config.model.whiten and not restored:
        state = state.replace(params=whitened(state.params, data))
    if config.model.init_from and not restored:
        variables = initialize_from(config.model.init_from, model, state.variables, say)
        state = state.replace(**variables)
    return state.averaging() if config.optim.ema else state


def make_steps(
    config: Config,
    model: nn.Module,
    tx: optax.GradientTransformation,
    data: TrainingData,
    plan: Plan,
    state: TrainState,
    per_dispatch: int,
) -> Steps:
    """Compiled training and evaluation steps with the settings' augmentation.

    Raises:
        ConfigError: Images of ``--small-size`` are not smaller, or too small for the network.
    """
    mix = make_mix(data.num_classes, mixup_alpha=config.data.mixup, cutmix_alpha=config.data.cutmix)
    evaluate = plan.eval_step(
        make_eval_step(model, lambda images: normalize(images, data.mean, data.std), axis_name=plan.axis_name)
    )

    def for_images(size: int) -> Steps:
        augment = make_augment(
            data.mean,
            data.std,
            crop_padding=0 if data.train.streamed else config.data.crop_padding,
            padding=config.data.padding,
            flip="alternating" if config.data.alternate_flips else config.data.flip,
            flip_seed=config.run.seed,
            randaugment_ops=config.data.randaugment,
            randaugment_magnitude=config.data.randaugment_magnitude,
            cutout_size=config.data.cutout,
            size=size,
        )
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
            steps_per_epoch=data.steps_per_epoch if config.data.alternate_flips else None,
        )
        return Steps(
            train=plan.train_step(train_step, state),
            train_many=plan.train_steps(make_train_steps(train_step), state) if per_dispatch > 1 else None,
            per_dispatch=per_dispatch,
            evaluate=evaluate,
        )

    steps = for_images(0)
    if not config.data.small_size:
        return steps
    _check_small(config, model, data, state)
    until = round(config.data.small_part * data.total_steps)
    return dataclasses.replace(steps, small=for_images(config.data.small_size), small_until=until)


def _check_small(config: Config, model: nn.Module, data: TrainingData, state: TrainState) -> None:
    size, (height, width, channels) = config.data.small_size, data.image_shape
    if size >= min(height, width):
        raise ConfigError(f"--small-size {size} is not smaller than {data.name}'s images, {height}x{width}")
    images = jax.ShapeDtypeStruct((1, size, size, channels), np.float32)
    try:
        jax.eval_shape(functools.partial(model.apply, train=False), state.variables, images)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"--small-size {size} is too small for {config.model.arch}: {first_line(error)}; 0 turns it off"
        ) from None
