"""The loaded extension: its threads, and the calls of several threads at once."""

import os
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_resnet import layers
from jax_resnet.layers.onednn import library
from tests.layers.onednn.programs import run_python

needs_onednn = pytest.mark.skipif(library.load().library is None, reason=library.load().reason)


@needs_onednn
def test_one_caller_for_many_threads_computes_the_same():
    code = """
        import jax, jax.numpy as jnp, numpy as np
        from jax_resnet import layers
        from jax_resnet.layers.onednn import library
        library.load().library.jax_resnet_configure(2, 1)
        x = jax.random.normal(jax.random.key(0), (2, 8, 8, 4))
        w = jax.random.normal(jax.random.key(1), (3, 3, 4, 4))
        images = ("NHWC", "HWIO", "NHWC")
        def f(x, w, how):
            return layers.conv_general_dilated(
                x, w, (1, 1), "SAME", dimension_numbers=images, implementation=how)
        for how in ("onednn", "xla"):
            print(float(jax.jit(jax.grad(lambda x, w: jnp.sum(jnp.sin(f(x, w, how))), 1))(x, w).sum()))
    """
    result = run_python(code, JAX_RESNET_CONV="auto")
    assert result.returncode == 0, result.stderr
    a, b = map(float, result.stdout.split())
    np.testing.assert_allclose(a, b, rtol=1e-3)


def test_threads_follow_the_environment(monkeypatch):
    monkeypatch.delenv("NPROC", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1,2")
    assert library.thread_count() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "nonsense")
    assert library.thread_count() == len(os.sched_getaffinity(0))
    monkeypatch.setenv("NPROC", "1")
    assert library.thread_count() == 1


def test_threads_are_the_processors_where_there_is_no_affinity_mask(monkeypatch):
    monkeypatch.delenv("NPROC", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity")
    assert library.thread_count() == os.cpu_count()
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert library.thread_count() == 1


@needs_onednn
def test_threads_follow_the_affinity_mask():
    code = """
        import os
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        from jax_resnet import layers
        print(layers.info().reason)
    """
    result = run_python(code, JAX_RESNET_CONV="auto")
    assert result.stdout.strip().endswith("1 thread"), result.stderr


@needs_onednn
def test_threads_of_python_compute_at_once():
    random = np.random.default_rng(0)
    images = [jnp.asarray(random.standard_normal((2, 8, size, 16), np.float32)) for size in (6, 7, 8, 9)]
    w = jnp.asarray(random.standard_normal((3, 3, 16, 16), np.float32))

    def conv(x, w):
        return layers.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    with layers.conv_implementation("onednn"):
        f = jax.jit(conv)
        expected = [np.asarray(f(x, w)) for x in images]

    def often(index):
        with layers.conv_implementation("onednn"):
            return all((np.asarray(f(images[index], w)) == expected[index]).all() for _ in range(50))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(often, range(4)))
