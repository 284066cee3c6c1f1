"""SGD, Adam and AdamW as in PyTorch, Muon, schedules, and transformations of groups of parameters."""

from jax_resnet.optim.error_warmup import WarmUpState, warm_up_by_error
from jax_resnet.optim.groups import decay_by_group, decay_mask, freeze, matching, scale_by_group
from jax_resnet.optim.muon import muon, normalize_filters, then_normalize
from jax_resnet.optim.optimizers import ScalarOrSchedule, adam, sgd
from jax_resnet.optim.rate_state import RateState, rate_factor, scale_by_rate_factor, with_rate_factor
from jax_resnet.optim.schedules import (
    Schedule,
    cosine,
    linear,
    one_cycle,
    one_cycle_momentum,
    piecewise,
    warmup,
)

__all__ = [
    "RateState",
    "ScalarOrSchedule",
    "Schedule",
    "WarmUpState",
    "adam",
    "cosine",
    "decay_by_group",
    "decay_mask",
    "freeze",
    "linear",
    "matching",
    "muon",
    "normalize_filters",
    "one_cycle",
    "one_cycle_momentum",
    "piecewise",
    "rate_factor",
    "scale_by_group",
    "scale_by_rate_factor",
    "sgd",
    "then_normalize",
    "warm_up_by_error",
    "warmup",
    "with_rate_factor",
]
