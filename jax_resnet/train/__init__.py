"""The training and evaluation steps: pure functions of state and batch, to be jitted where they are used.

    step = jax.jit(make_train_step(model, tx, augment), donate_argnums=0)
    state, metrics = step(state, batch)

A batch is a dict: ``image`` (uint8 or float, NHWC), ``label`` (integers, (N,)), ``index`` (int32, (N,): which
example of the data set each is; only augmentation draws from it) and, in evaluation, ``mask`` (bool, (N,):
false where padded). Metrics are sums over examples beside their ``count``, so that they add up over batches
of any size; those of training also hold the norm of the gradient, and the scale of a warm-up by error.
"""

from jax_resnet.train.evaluation import EvalStep, Preprocess, make_eval_step
from jax_resnet.train.loss import cross_entropy
from jax_resnet.train.prepare import Augment, Mix
from jax_resnet.train.state import Batch, Metrics, Network, TrainState, Variables, create_state
from jax_resnet.train.step import TrainStep, make_train_step, make_train_steps

__all__ = [
    "Augment",
    "Batch",
    "EvalStep",
    "Metrics",
    "Mix",
    "Network",
    "Preprocess",
    "TrainState",
    "TrainStep",
    "Variables",
    "create_state",
    "cross_entropy",
    "make_eval_step",
    "make_train_step",
    "make_train_steps",
]
