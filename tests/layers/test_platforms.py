"""Where an operating system, a processor or a version of JAX lacks something, plain JAX runs."""

import os
import subprocess
import sys
import textwrap

import pytest

from jax_resnet.layers.interpreters import NEEDED

# A small network, forward and backward, against lax alone; prints what is in use.
COMPARE = """
    import logging
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    import jax, jax.numpy as jnp, numpy as np
    from jax import lax
    from jax_resnet import layers
    x = jax.random.normal(jax.random.key(0), (4, 6, 6, 8))
    w = jax.random.normal(jax.random.key(1), (3, 3, 2, 8))
    images = ("NHWC", "HWIO", "NHWC")
    norm = layers.BatchNorm()
    variables = norm.init(jax.random.key(0), x, train=False)
    def ours(w):
        y = layers.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=images, feature_group_count=4)
        y, state = norm.apply(variables, y, train=True, relu=True, residual=x, mutable=["batch_stats"])
        return jnp.sum(y ** 2) + sum(map(jnp.sum, jax.tree.leaves(state)))
    def reference(w):
        y = lax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=images, feature_group_count=4)
        mean, var = jnp.mean(y, (0, 1, 2)), jnp.var(y, (0, 1, 2))
        y = jax.nn.relu((y - mean) / jnp.sqrt(var + 1e-5) + x)
        n = x.size / 8
        return jnp.sum(y ** 2) + jnp.sum(0.1 * mean) + jnp.sum(0.9 + 0.1 * var * n / (n - 1))
    for f in (jax.value_and_grad, lambda f: jax.jit(jax.value_and_grad(f))):
        for a, b in zip(f(ours)(w), f(reference)(w)):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-2)
    print(layers.info().in_use, layers.info().reason)
"""


def run_after(preparation):
    """Runs ``COMPARE`` in a process of its own, in which warnings are errors, after other statements."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{preparation}\n{textwrap.dedent(COMPARE)}"],
        env={**os.environ, "JAX_RESNET_CONV": "auto", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def assert_plain(result, in_use, reason):
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{in_use} ")
    assert reason in result.stdout
    (line,) = [line for line in result.stderr.splitlines() if "INFO" in line or "WARNING" in line]
    assert reason in line


@pytest.mark.slow
def test_without_what_only_posix_has_plain_jax_runs():
    removed = "sched_getaffinity sched_setaffinity fork register_at_fork getuid geteuid"
    result = run_after(
        f"import os, sys, jax\nfor name in '{removed}'.split(): delattr(os, name)\n"
        "for name in ('resource', 'fcntl', 'pwd', 'grp', 'termios'): sys.modules[name] = None\n"
        "sys.platform = 'win32'"
    )
    assert_plain(result, "jax", "x86-64 Linux only")


@pytest.mark.parametrize(("system", "machine"), [("linux", "aarch64"), ("darwin", "arm64")])
@pytest.mark.slow
def test_on_another_processor_or_system_plain_jax_runs(system, machine):
    result = run_after(
        f"import jax, platform, sys\nsys.platform = {system!r}\nplatform.machine = lambda: {machine!r}"
    )
    assert_plain(result, "jax", f"oneDNN has wheels for x86-64 Linux only, not {machine} {system}")


@pytest.mark.parametrize(
    "name",
    ["jax.interpreters.mlir.ShardingContext", "jax.interpreters.ad.deflinear2", "jax.extend.core.Primitive"],
)
@pytest.mark.slow
def test_a_jax_without_a_private_name_is_reported_in_one_line_and_xla_runs(name):
    module, _, attribute = name.rpartition(".")
    assert attribute in NEEDED[module]
    result = run_after(f"import jax, importlib\ndelattr(importlib.import_module({module!r}), {attribute!r})")
    assert_plain(result, "xla", f"has no {name}, which the fast layers need")


def test_a_jax_without_a_private_module_is_reported_in_one_line_and_xla_runs():
    result = run_after("import jax, sys, jax.interpreters.mlir\nsys.modules['jax.interpreters.mlir'] = None")
    assert_plain(result, "xla", "which the fast layers need")
