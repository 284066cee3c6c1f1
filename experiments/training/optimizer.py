"""From settings to a learning-rate schedule and an optimizer."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import jax
import optax

from experiments.program.errors import ConfigError
from experiments.settings.config import OptimConfig
from jax_resnet import optim
from jax_resnet.errors import TrainError

__all__ = ["make_optimizer", "make_schedule"]


def make_schedule(config: OptimConfig, total: int, per_epoch: int) -> optim.Schedule:
    """The learning rate at each of ``total`` steps, ``per_epoch`` of them per pass over the data.

    Raises:
        ConfigError: The warm-up is longer than the training.
    """
    peak = config.learning_rate * (config.batch_size / 256 if config.scale_learning_rate else 1)
    if config.schedule == "constant":
        schedule = optim.piecewise(peak, [])
    elif config.schedule == "step":
        edges = [round(fraction * total) for fraction in config.milestones]
        schedule = optim.piecewise(peak, edges, config.factor)
    elif config.schedule == "linear":
        schedule = optim.linear(peak, total)
    elif config.schedule == "cosine":
        schedule = optim.cosine(peak, total)
    else:
        schedule = optim.one_cycle(peak, total, peak_at=config.peak_at)
    warmup = config.warmup * total if config.warmup_epochs is None else config.warmup_epochs * per_epoch
    if warmup > total:
        raise ConfigError(
            f"--warmup-epochs {config.warmup_epochs:g} is longer than the training, {total / per_epoch:.3g} "
            "epochs: give fewer, or --warmup as a fraction"
        )
    return optim.warmup(schedule, round(warmup))


def make_optimizer(config: OptimConfig, schedule: optim.Schedule) -> optax.GradientTransformation:
    """The optimizer; its ``init`` raises ConfigError for names of no parameter, or of frozen ones alone."""
    mask = _decay_mask(config)
    if config.optimizer in ("sgd", "muon"):
        # Muon scales kernels to their norm last: --rates would scale that step, too.
        make = optim.sgd if config.optimizer == "sgd" else partial(optim.muon, normalize=False)
        tx = make(
            schedule,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
            mask=mask,
        )
    else:
        tx = optim.adam(
            schedule,
            betas=(config.momentum, config.beta2),
            weight_decay=config.weight_decay,
            decoupled=config.optimizer == "adamw",
            mask=mask,
        )
    parts = [tx]
    if config.decays:
        parts.insert(0, optim.decay_by_group(config.decay_coefficients()))
    if config.clip_norm:
        parts.insert(0, optax.clip_by_global_norm(config.clip_norm))
    if config.rates:
        parts.append(optim.scale_by_group(config.rate_factors()))
    if config.warmup_error:
        parts.append(optim.warm_up_by_error(config.warmup_error))
    if config.on_nan == "rollback":  # without it the state is as it always was: old checkpoints fit
        parts.append(optim.scale_by_rate_factor())
    tx = optax.chain(*parts) if len(parts) > 1 else tx
    if config.optimizer == "muon":
        tx = optim.then_normalize(tx)
    return _checking_names(optim.freeze(tx, *config.freeze) if config.freeze else tx, config)


def _checking_names(tx: optax.GradientTransformation, config: OptimConfig) -> optax.GradientTransformation:
    """The same optimizer; its ``init`` checks the names in flags against all parameters, frozen ones too."""

    def init(params: Any) -> optax.OptState:
        def matched(flag: str, names: Iterable[str]) -> list[bool]:
            try:
                return jax.tree.leaves(optim.matching(params, names))
            except TrainError as error:
                raise ConfigError(f"{flag}: {error}") from None

        frozen = matched("--freeze", config.freeze)
        if all(frozen):
            raise ConfigError(f"--freeze {' '.join(config.freeze)} leaves nothing to train: name fewer parts")
        for flag, names in (("--rates", config.rate_factors()), ("--decays", config.decay_coefficients())):
            for name in names:
                if all(still for still, named in zip(frozen, matched(flag, [name]), strict=True) if named):
                    raise ConfigError(
                        f"{flag} {name}: --freeze keeps these parameters as they are; leave it out ({flag} "
                        "none takes back a recipe's)"
                    )
        if config.optimizer == "muon":
            for name, decay in config.decay_coefficients().items():
                named = zip(jax.tree.leaves(params), matched("--decays", [name]), strict=True)
                kernels = [p.ndim >= 4 for p, own in named if own]
                if any(kernels) if decay else all(kernels):
                    raise ConfigError(
                        f"--decays {name}: muon keeps the norm of convolutions' kernels, which do not decay; "
                        "name other parameters, such as head or bias"
                    )
        return tx.init(params)

    return optax.GradientTransformationExtraArgs(init, optax.with_extra_args_support(tx).update)


def _decay_mask(config: OptimConfig) -> Callable[[Any], Any] | None:
    """Where ``--weight-decay`` applies: not to what ``--decays`` names. None for everywhere."""
    if not config.decays:
        return None if config.decay_all else optim.decay_mask

    def mask(params: Any) -> Any:
        everywhere = jax.tree.map(lambda _: True, params) if config.decay_all else optim.decay_mask(params)
        named = optim.matching(params, config.decay_coefficients())
        return jax.tree.map(lambda decayed, own: decayed and not own, everywhere, named)

    return mask
