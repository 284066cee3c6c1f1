import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_resnet import optim


def torch_sgd(params, grads, *, lr, momentum, nesterov, weight_decay, decayed):
    """PyTorch's documented algorithm, in float64."""
    buffers, params = {}, {name: p.astype(np.float64) for name, p in params.items()}
    for t, grad in enumerate(grads):
        for name in params:
            g = grad[name] + (weight_decay * params[name] if decayed(name) else 0)
            if momentum:
                buffers[name] = g if t == 0 else momentum * buffers[name] + g
                g = g + momentum * buffers[name] if nesterov else buffers[name]
            params[name] = params[name] - lr(t) * g
    return params


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_sgd_equals_pytorchs_formula_for_20_steps(momentum, nesterov, masked):
    rng = np.random.default_rng(0)
    shapes = {"kernel": (3, 4), "bias": (4,), "scale": (4,)}
    start = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    grads = [
        {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
        for _ in range(20)
    ]
    schedule = optim.piecewise(0.1, [8, 15])
    tx = optim.sgd(
        schedule,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=0.01,
        mask=optim.decay_mask if masked else None,
    )

    params, state = start, tx.init(start)
    for grad in grads:
        updates, state = tx.update(grad, state, params)
        params = optax.apply_updates(params, updates)

    expected = torch_sgd(
        start,
        grads,
        lr=lambda t: 0.1 if t < 8 else 0.01 if t < 15 else 0.001,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=0.01,
        decayed=lambda name: not masked or name == "kernel",
    )
    for name in shapes:
        np.testing.assert_allclose(params[name], expected[name], rtol=2e-6, atol=1e-6)


STEPS = 40


def cosine(t):
    return 0.3 * (1 + math.cos(math.pi * t / STEPS)) / 2


def one_cycle(t):
    """PyTorch's OneCycleLR, its first phase ending at 30%."""
    low, peak, end, top = 0.3 / 25, 0.3, 0.3 / 25 / 1e4, 0.3 * STEPS
    if t <= top:
        return low + (peak - low) * (1 - math.cos(math.pi * t / top)) / 2
    return end + (peak - end) * (1 + math.cos(math.pi * (t - top) / (STEPS - top))) / 2


@pytest.mark.parametrize(
    ("schedule", "closed_form"),
    [
        (optim.piecewise(0.3, [20, 30]), lambda t: 0.3 * 0.1 ** ((t >= 20) + (t >= 30))),
        (optim.piecewise(0.3, [10, 20, 30], 0.5), lambda t: 0.3 * 0.5 ** (t // 10)),
        (optim.cosine(0.3, STEPS), cosine),
        (optim.one_cycle(0.3, STEPS), one_cycle),
        (optim.warmup(optim.cosine(0.3, STEPS), 8), lambda t: cosine(t) * min(1, (t + 1) / 8)),
        (optim.warmup(optim.piecewise(0.3, [20]), 5), lambda t: min(1, (t + 1) / 5) * 0.3 * 0.1 ** (t >= 20)),
        (optim.warmup(optim.cosine(0.3, STEPS), 0), cosine),
    ],
    ids=["piecewise", "piecewise-half", "cosine", "one-cycle", "warmup-cosine", "warmup-step", "no-warmup"],
)
def test_schedules_equal_their_closed_forms_at_every_step(schedule, closed_form):
    found = jax.vmap(schedule)(jnp.arange(STEPS))
    np.testing.assert_allclose(found, [closed_form(t) for t in range(STEPS)], rtol=2e-5, atol=1e-8)


def test_decay_mask_leaves_out_batch_norm_and_biases():
    params = {"conv": {"kernel": jnp.ones((3, 3, 1, 1))}, "norm": {"scale": jnp.ones(4), "bias": jnp.ones(4)}}
    assert optim.decay_mask(params) == {"conv": {"kernel": True}, "norm": {"scale": False, "bias": False}}
