"""SGD, Adam and the warm-up by error, against PyTorch's formulas in float64."""

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


def torch_adam(params, grads, *, lr, betas, eps, weight_decay, decoupled):
    """PyTorch's documented Adam and AdamW, in float64."""
    params = {name: p.astype(np.float64) for name, p in params.items()}
    m = {name: np.zeros_like(p) for name, p in params.items()}
    v = {name: np.zeros_like(p) for name, p in params.items()}
    for t, grad in enumerate(grads, 1):
        for name in params:
            g = grad[name].astype(np.float64)
            if decoupled:
                params[name] = params[name] * (1 - lr * weight_decay)
            else:
                g = g + weight_decay * params[name]
            m[name] = betas[0] * m[name] + (1 - betas[0]) * g
            v[name] = betas[1] * v[name] + (1 - betas[1]) * g**2
            m_hat, v_hat = m[name] / (1 - betas[0] ** t), v[name] / (1 - betas[1] ** t)
            params[name] = params[name] - lr * m_hat / (np.sqrt(v_hat) + eps)
    return params


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize(("betas", "eps"), [((0.9, 0.999), 1e-8), ((0.8, 0.95), 0.1)])
def test_adam_equals_pytorchs_formula_for_20_steps(decoupled, weight_decay, betas, eps):
    rng = np.random.default_rng(0)
    start = {"kernel": rng.standard_normal((3, 4)).astype(np.float32)}
    grads = [{"kernel": rng.standard_normal((3, 4)).astype(np.float32)} for _ in range(20)]
    options = {"betas": betas, "eps": eps, "weight_decay": weight_decay, "decoupled": decoupled}
    tx = optim.adam(0.01, **options)
    params, state = start, tx.init(start)
    for grad in grads:
        updates, state = tx.update(grad, state, params)
        params = optax.apply_updates(params, updates)
    expected = torch_adam(start, grads, lr=0.01, **options)
    np.testing.assert_allclose(params["kernel"], expected["kernel"], rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("standard_promotion")
def test_a_mask_leaves_batch_norm_out_of_adams_decay_too():
    params = {"kernel": jnp.ones((2, 2)), "scale": jnp.ones(2)}
    tx = optim.adam(0.1, weight_decay=0.5, decoupled=True, mask=optim.decay_mask)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.05)
    np.testing.assert_array_equal(updates["scale"], 0)


def test_the_warm_up_lasts_until_the_smoothed_error_is_below_the_threshold():
    tx = optax.chain(optim.sgd(1.0, momentum=0.0), optim.warm_up_by_error(0.8, factor=0.1, smoothing=0.9))
    params = jnp.zeros(())
    state, smoothed, warm = tx.init(params), 1.0, True
    for error in [0.9] * 10 + [0.75] * 30 + [0.95] * 20:
        update, state = tx.update(jnp.ones(()), state, params, error=error)
        smoothed = 0.9 * smoothed + 0.1 * error
        warm = warm and smoothed >= 0.8
        np.testing.assert_allclose(update, -0.1 if warm else -1.0, rtol=1e-6)
    assert not warm
    assert smoothed > 0.8  # once warm, it never goes back


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_with_a_momentum_schedule_equals_pytorchs_formula(nesterov):
    rng = np.random.default_rng(0)
    start = {"kernel": rng.standard_normal((3, 4)).astype(np.float32)}
    grads = [{"kernel": rng.standard_normal((3, 4)).astype(np.float32)} for _ in range(20)]
    momentum = optim.one_cycle_momentum(20)
    tx = optim.sgd(optim.one_cycle(0.1, 20), momentum=momentum, nesterov=nesterov, weight_decay=0.01)
    params, state = start, tx.init(start)
    expected, buffer = start["kernel"].astype(np.float64), 0.0
    for t, grad in enumerate(grads):
        updates, state = tx.update(grad, state, params)
        params = optax.apply_updates(params, updates)
        g = grad["kernel"] + 0.01 * expected
        buffer = float(momentum(t)) * buffer + g
        g = g + float(momentum(t)) * buffer if nesterov else buffer
        expected = expected - float(optim.one_cycle(0.1, 20)(t)) * g
    np.testing.assert_allclose(params["kernel"], expected, rtol=1e-5, atol=1e-6)
