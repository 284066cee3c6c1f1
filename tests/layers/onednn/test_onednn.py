"""The native extension: how it is built, what happens where it cannot be, and how it behaves."""

import logging
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_resnet import layers
from jax_resnet.layers.onednn import build, library

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
needs_onednn = pytest.mark.skipif(library.load().library is None, reason=library.load().reason)


def conv(x, w, **options):
    return layers.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=DIMENSIONS, **options)


def run_python(code, **environment):
    """Runs a program in a process of its own, in which warnings are errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


CONVOLVE = """
    import logging
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    import jax.numpy as jnp
    from jax_resnet import layers
    for size in (4, 5):
        y = layers.conv_general_dilated(
            jnp.ones((1, size, 4, 2)), jnp.ones((1, 1, 2, 2)), (1, 1), "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"))
        assert (y == 2).all()
    print(layers.info().in_use, layers.info().reason)
"""


@pytest.fixture
def unloaded():
    """The extension as if it had not been asked for yet."""
    library._load_once.cache_clear()
    library._tell.cache_clear()
    yield
    library._load_once.cache_clear()
    library._tell.cache_clear()


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"PATH": "", "CXX": ""}, "no C++ compiler"),
        ({"CXX": "false"}, "its compilation failed"),
        ({"JAX_RESNET_CACHE": "/proc/nowhere"}, "No such file"),
    ],
    ids=["no compiler", "failing compiler", "unwritable cache"],
)
@needs_onednn
def test_a_program_without_it_runs_and_says_why_once(environment, reason, tmp_path):
    result = run_python(
        CONVOLVE, **{"JAX_RESNET_CACHE": str(tmp_path), "JAX_RESNET_CONV": "onednn", **environment}
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("jax ")
    (line,) = [line for line in result.stderr.splitlines() if "oneDNN" in line]
    assert line.startswith("WARNING")
    assert reason in line


def test_missing_wheels_are_named(monkeypatch, unloaded, caplog):
    monkeypatch.setattr(build, "_LIBRARY_WHEEL", "no-such-wheel")
    with caplog.at_level(logging.INFO), layers.conv_implementation("auto"):
        info = layers.info()
        layers.info()
    assert info.in_use == "jax"
    if sys.platform == "linux":
        assert 'pip install "jax-resnet[cpu]"' in info.reason
    assert len([r for r in caplog.records if r.levelno == logging.INFO and "oneDNN" in r.message]) == 1


def test_other_machines_are_refused(monkeypatch, unloaded):
    monkeypatch.setattr(build.platform, "machine", lambda: "aarch64")
    assert "x86-64 Linux only, not aarch64" in library.load().reason


def use_source(monkeypatch, path):
    """Builds the convolution from another file, which finds its headers where it always does."""
    monkeypatch.setattr(build, "_SOURCES", (path, *build._SOURCES[1:]))
    monkeypatch.setattr(build, "_FLAGS", (*build._FLAGS, f"-I{build._HERE}"))


@needs_onednn
def test_a_failed_self_test_leaves_nothing_behind(monkeypatch, unloaded, tmp_path):
    monkeypatch.setenv("JAX_RESNET_CACHE", str(tmp_path))
    broken = tmp_path / "broken.cc"
    # Right but for the padding.
    source = build._SOURCES[0].read_text().replace("before(p + 19, p + 21)", "before(p + 21, p + 23)")
    broken.write_text(source.replace("after(p + 21, p + 23)", "after(p + 19, p + 21)"))
    use_source(monkeypatch, broken)
    assert "its self-test failed" in library.load().reason
    assert list((tmp_path / "onednn").iterdir()) == []


@pytest.mark.slow
@needs_onednn
def test_a_crashing_self_test_does_not_reach_the_program(monkeypatch, unloaded, tmp_path):
    monkeypatch.setenv("JAX_RESNET_CACHE", str(tmp_path))
    crashing = tmp_path / "crashing.cc"
    source = build._SOURCES[0].read_text()
    crashing.write_text(
        source.replace("std::lock_guard<std::mutex> lock(mutex);\n  threads", "std::abort();\n  threads")
    )
    assert crashing.read_text() != source
    use_source(monkeypatch, crashing)
    assert "its self-test failed" in library.load().reason


@pytest.mark.slow
@needs_onednn
def test_sanitizers_find_nothing_in_the_self_test(monkeypatch, tmp_path):
    compiler, wheels, fresh = build.find_compiler(), build.find_wheels(), tmp_path / "extension.so"
    runtimes = [
        subprocess.run(
            [compiler, f"-print-file-name=lib{name}.so"], capture_output=True, text=True
        ).stdout.strip()
        for name in ("asan", "ubsan")
    ]
    if not all(os.path.isabs(path) for path in runtimes):
        pytest.skip(f"{compiler} has no sanitizers")
    monkeypatch.setattr(
        build, "_FLAGS", (*build._FLAGS, "-fsanitize=address,undefined", "-fno-sanitize-recover")
    )
    build._compile(compiler, wheels, fresh)
    monkeypatch.setenv("LD_PRELOAD", ":".join(runtimes))
    # Python itself leaks.
    monkeypatch.setenv("ASAN_OPTIONS", "detect_leaks=0")
    build._test(wheels, fresh)


@needs_onednn
def test_two_processes_at_once(tmp_path):
    with ThreadPoolExecutor() as pool:
        results = list(
            pool.map(
                lambda _: run_python(CONVOLVE, JAX_RESNET_CACHE=str(tmp_path), JAX_RESNET_CONV="auto"),
                range(2),
            )
        )
    for result in results:
        assert result.stdout.startswith("onednn "), result.stderr
    (built,) = (tmp_path / "onednn").iterdir()
    assert built.suffix == ".so"


@needs_onednn
def test_the_key_depends_on_what_it_should(monkeypatch):
    wheels, compiler = build.find_wheels(), build.find_compiler()
    keys = {
        build.cache_key(wheels, compiler),
        build.cache_key(wheels._replace(version="0"), compiler),
        build.cache_key(wheels, sys.executable),
    }
    monkeypatch.setattr(build, "_processor", lambda: "another")
    keys.add(build.cache_key(wheels, compiler))
    monkeypatch.setattr(build.jaxlib, "__version__", "0")
    keys.add(build.cache_key(wheels, compiler))
    assert len(keys) == 5


@needs_onednn
def test_one_caller_for_many_threads_computes_the_same():
    code = """
        import jax, jax.numpy as jnp, numpy as np
        from jax_resnet import layers
        from jax_resnet.layers.onednn import library
        library._MANY_THREADS = 0
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


def test_threads_respect_the_environment(monkeypatch):
    monkeypatch.delenv("NPROC", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1,2")
    assert library.thread_count() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "nonsense")
    assert library.thread_count() == len(os.sched_getaffinity(0))
    monkeypatch.setenv("NPROC", "1")
    assert library.thread_count() == 1


@needs_onednn
def test_threads_respect_the_affinity_mask():
    code = """
        import os
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        from jax_resnet import layers
        print(layers.info().reason)
    """
    result = run_python(code, JAX_RESNET_CONV="auto")
    assert result.stdout.strip().endswith("1 thread"), result.stderr


@needs_onednn
def test_more_shapes_than_the_cache_holds():
    # A program with 300 sizes of image evicts the first; calling it again builds that one anew.
    w = jnp.ones((1, 1, 2, 2))
    problem_library = library.load()
    from jax_resnet.layers.conv.spec import ConvSpec
    from jax_resnet.layers.onednn.call import problem_of

    with layers.conv_implementation("onednn"):
        first = jax.jit(conv)
        assert first(jnp.ones((1, 1, 3, 2)), w).sum() == 12
        for height in range(2, 302):
            spec = ConvSpec((1, 1), ((0, 0), (0, 0)), (1, 1), 1, (height, 3), (1, 1))
            image = jax.ShapeDtypeStruct((1, height, 3, 2), jnp.float32)
            assert problem_library.is_supported(problem_of(image, w, "forward", spec))
        assert first(jnp.ones((1, 1, 3, 2)), w).sum() == 12


@needs_onednn
def test_threads_of_python_at_once():
    random = np.random.default_rng(0)
    images = [jnp.asarray(random.standard_normal((2, 8, size, 16), np.float32)) for size in (6, 7, 8, 9)]
    w = jnp.asarray(random.standard_normal((3, 3, 16, 16), np.float32))
    with layers.conv_implementation("onednn"):
        f = jax.jit(conv)
        expected = [np.asarray(f(x, w)) for x in images]

    def often(index):
        with layers.conv_implementation("onednn"):
            return all((np.asarray(f(images[index], w)) == expected[index]).all() for _ in range(50))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(often, range(4)))


@needs_onednn
def test_a_wrong_call_is_an_error_of_jax_not_a_crash():
    call = jax.ffi.ffi_call(library.CONV, jax.ShapeDtypeStruct((2,), jnp.float32))
    for problem in (np.zeros(3, np.int64), np.ones(23, np.int64)):
        with pytest.raises(jax.errors.JaxRuntimeError, match="convolution"):
            call(jnp.ones(2), jnp.ones(2), problem=problem).block_until_ready()


@needs_onednn
def test_it_is_in_use():
    x, w = jnp.ones((1, 4, 4, 2)), jnp.ones((1, 1, 2, 2))
    for how, there in {"onednn": True, "auto": True, "jax": False, "xla": False}.items():
        text = jax.jit(lambda x, w, how=how: conv(x, w, implementation=how)).lower(x, w).as_text()
        assert (library.CONV in text) == there
    half = jax.jit(lambda x, w: conv(x, w, implementation="onednn")).lower(
        x.astype(jnp.float16), w.astype(jnp.float16)
    )
    assert library.CONV not in half.as_text()
