"""Going back to the last good checkpoint with a lower learning rate, for ``--on-nan rollback``."""

from collections.abc import Iterable, Mapping
from typing import Any

from jax_resnet import optim
from jax_resnet.train import TrainState

__all__ = ["KIND", "continued", "lower"]

KIND = "rollback"
"""The kind of record in ``metrics.jsonl`` that says where a run went back to and with which factor."""

_HALVINGS = 3


def lower(factor: float) -> float | None:
    """The next factor of the learning rate; None after three halvings."""
    return factor / 2 if factor > 0.5**_HALVINGS else None


def continued(state: TrainState, records: Iterable[Mapping[str, Any]]) -> TrainState:
    """A restored state with the factor that the run had when it was stopped.

    The checkpoint that a run went back to has the factor from before the rollback; the record has the new
    one. Without the record the run diverges, goes back and halves once more, to the same end.

    Args:
        state: The state of a run with ``--on-nan rollback``.
        records: The run's records up to the state's step.
    """
    recorded = [float(r["factor"]) for r in records if r["kind"] == KIND and _is_factor(r.get("factor"))]
    factor = min([optim.rate_factor(state.opt_state), *recorded])
    return state.replace(opt_state=optim.with_rate_factor(state.opt_state, factor))


def _is_factor(value: Any) -> bool:
    return isinstance(value, float) and 0 < value <= 1
