"""What training changes, and the kinds of values that steps exchange."""

from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

__all__ = ["Batch", "Metrics", "Network", "TrainState", "Variables", "create_state"]

Batch = Mapping[str, Any]
Metrics = dict[str, jax.Array]
Variables = dict[str, Any]


class Network(Protocol):
    """What a step needs of a network: a flax module's ``apply``."""

    def apply(self, variables: Any, images: jax.Array, *, train: bool) -> Any:
        """Maps variables and NHWC images to logits."""


class TrainState(struct.PyTreeNode):
    """Everything that training changes, and the key that random draws come from.

    Attributes:
        step: Updates made so far, int32.
        params: Parameters of the network.
        batch_stats: Running statistics of BatchNorm.
        opt_state: State of the optimizer.
        key: Never changes: step ``s`` draws from ``fold_in(key, s)``, example ``i`` from that and ``i``.
        average: Moving average of ``variables``, see ``averaging``; None where there is none.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    key: jax.Array
    average: Any = None

    @property
    def variables(self) -> Variables:
        """The variables that ``model.apply`` takes, as training moves them."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def eval_variables(self) -> Variables:
        """The variables to evaluate and to keep: the moving average where there is one."""
        return self.variables if self.average is None else self.average

    def averaging(self) -> "TrainState":
        """The state with a moving average that starts here."""
        return self.replace(average=jax.tree.map(jnp.copy, self.variables))


def create_state(
    model: nn.Module, tx: optax.GradientTransformation, key: jax.Array, image_shape: tuple[int, int, int]
) -> TrainState:
    """Initializes a network and its optimizer.

    Args:
        model: A network that is called with NHWC images and ``train``.
        tx: The optimizer.
        key: Half of it draws the parameters, the other half is kept for training.
        image_shape: ``(height, width, channels)``.

    Returns:
        The state of step 0: parameters and statistics in float32, the optimizer's state, a key for training.

    Raises:
        jax_resnet.errors.ModelError: Images that the network cannot take.
    """

    def initialize(key: jax.Array) -> TrainState:
        init_key, train_key = jax.random.split(key)
        variables = model.init(init_key, jnp.zeros((1, *image_shape)), train=False)
        params = variables["params"]
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            batch_stats=variables.get("batch_stats", {}),
            opt_state=tx.init(params),
            key=train_key,
        )

    # What runs once is not worth optimizing, which takes XLA on CPU four times as long as all the rest.
    traced = any(isinstance(x, jax.core.Tracer) for x in (key, jnp.zeros(())))
    at_once = jax.default_backend() == "cpu" and not traced  # inside of another program there is no option
    options = {"xla_backend_optimization_level": 0} if at_once else None
    return jax.jit(initialize, compiler_options=options)(key)
