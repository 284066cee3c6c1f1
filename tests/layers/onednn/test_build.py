"""How the extension is compiled, and what happens where it cannot be."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jax_resnet.layers.onednn import build, library
from tests.layers.onednn.programs import CONVOLVE, run_python

needs_onednn = pytest.mark.skipif(library.load().library is None, reason=library.load().reason)


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


def test_missing_wheels_are_named_with_the_command_that_installs_them():
    with pytest.raises(build.UnavailableError, match=r"^no-such-wheel is not installed .*-e '\.\[cpu\]'\)$"):
        build.find_wheels(library="no-such-wheel")
    with pytest.raises(build.UnavailableError, match="numpy has no libdnnl"):
        build.find_wheels(library="numpy")


@pytest.fixture
def prefix(tmp_path):
    """The folder of another package manager, with the files of oneDNN's wheels in it."""
    wheels = build.find_wheels()
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libdnnl.so.3").symlink_to(wheels.library)
    shutil.copytree(wheels.include, tmp_path / "include")
    return tmp_path


@needs_onednn
def test_the_onednn_of_another_package_manager_is_found(prefix):
    found = build.find_installed([Path("/nowhere"), prefix])
    assert found.library == build.find_wheels().library
    assert found.include == prefix / "include"
    assert found.version.startswith("3.")


@needs_onednn
def test_an_older_onednn_is_named(prefix):
    header = prefix / "include/oneapi/dnnl/dnnl_version.h"
    header.write_text(header.read_text().replace("VERSION_MAJOR 3", "VERSION_MAJOR 2"))
    with pytest.raises(build.UnavailableError, match=r"the oneDNN 2\.\d.* in .* is none of version 3"):
        build.find_installed([prefix])
    with pytest.raises(build.UnavailableError, match=r"no oneDNN is installed here$"):
        build.find_installed([prefix / "lib"])


@needs_onednn
@pytest.mark.slow
def test_the_extension_is_built_with_it(prefix, tmp_path):
    installed = build.find_installed([prefix])
    fresh = tmp_path / "extension.so"
    build.compile_extension(build.Recipe(), build.find_compiler(), installed, fresh)
    build.check_extension(installed, fresh)


@pytest.mark.parametrize(
    ("system", "machine"), [("linux", "aarch64"), ("darwin", "arm64"), ("win32", "AMD64")]
)
def test_platforms_without_wheels_are_named(system, machine):
    with pytest.raises(build.UnavailableError, match=f"x86-64 Linux only, not {machine} {system}"):
        build.check_platform(system, machine)


def changed(tmp_path, old, new):
    """The recipe with one change in one of its sources."""
    recipe, sources = build.Recipe(), []
    for source in recipe.sources:
        path = tmp_path / source.name
        path.write_text(source.read_text().replace(old, new))
        sources.append(path if path.read_text() != source.read_text() else source)
    assert tuple(sources) != recipe.sources
    return recipe._replace(sources=tuple(sources))


@needs_onednn
@pytest.mark.slow
def test_a_failed_self_test_leaves_nothing_behind(monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_RESNET_CACHE", str(tmp_path))
    wrong_padding = "before(p + 21, p + 23), after(p + 19, p + 21)"
    recipe = changed(tmp_path, "before(p + 19, p + 21), after(p + 21, p + 23)", wrong_padding)
    with pytest.raises(build.UnavailableError, match="its self-test failed"):
        build.build(recipe)
    assert list((tmp_path / "onednn").iterdir()) == []


@pytest.mark.slow
@needs_onednn
def test_the_self_test_tries_bfloat16(monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_RESNET_CACHE", str(tmp_path))
    residual = "static_cast<const T*>(a.residual)"
    recipe = changed(tmp_path, residual, f"bf16 ? nullptr : {residual}")
    with pytest.raises(build.UnavailableError, match="its self-test failed: bfloat16"):
        build.build(recipe)


@pytest.mark.slow
@needs_onednn
def test_a_crashing_self_test_does_not_reach_the_program(monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_RESNET_CACHE", str(tmp_path))
    lock = "std::lock_guard<std::mutex> lock(mutex);\n  threads"
    recipe = changed(tmp_path, lock, "std::abort();\n  threads")
    with pytest.raises(build.UnavailableError, match="its self-test failed"):
        build.build(recipe)


@pytest.mark.slow
@needs_onednn
def test_sanitizers_find_nothing_in_the_self_test(monkeypatch, tmp_path):
    recipe, compiler, wheels = build.Recipe(), build.find_compiler(), build.find_wheels()
    runtimes = [
        subprocess.run(
            [compiler, f"-print-file-name=lib{name}.so"], capture_output=True, text=True
        ).stdout.strip()
        for name in ("asan", "ubsan")
    ]
    if not all(os.path.isabs(path) for path in runtimes):
        pytest.skip(f"{compiler} has no sanitizers")
    sanitize = ("-fsanitize=address,undefined", "-fno-sanitize-recover")
    fresh = tmp_path / "extension.so"
    build.compile_extension(recipe._replace(flags=recipe.flags + sanitize), compiler, wheels, fresh)
    monkeypatch.setenv("LD_PRELOAD", ":".join(runtimes))
    monkeypatch.setattr(build, "_TEST_SECONDS", 600)  # sanitized code is slow
    # Python itself leaks.
    monkeypatch.setenv("ASAN_OPTIONS", "detect_leaks=0")
    build.check_extension(wheels, fresh)


@needs_onednn
@pytest.mark.slow
def test_two_processes_can_build_at_once(tmp_path):
    with ThreadPoolExecutor() as pool:
        results = list(
            pool.map(
                lambda _: run_python(CONVOLVE, JAX_RESNET_CACHE=str(tmp_path), JAX_RESNET_CONV="auto"),
                range(2),
            )
        )
    for result in results:
        assert result.stdout.startswith("onednn "), result.stderr
        assert "damaged" not in result.stderr
    built = list((tmp_path / "onednn").iterdir())
    assert {path.suffix for path in built} == {".so"}
    assert len({path.name.partition("-")[0] for path in built}) == 1


@needs_onednn
def test_the_key_depends_on_everything_that_matters(tmp_path):
    recipe, wheels, compiler = build.Recipe(), build.find_wheels(), build.find_compiler()
    processor = build.processor()
    keys = {
        build.cache_key(recipe, wheels, compiler, processor=processor),
        build.cache_key(
            changed(tmp_path, "kAlignment = 64", "kAlignment = 128"), wheels, compiler, processor=""
        ),
        build.cache_key(recipe._replace(flags=("-O0",)), wheels, compiler, processor=processor),
        build.cache_key(recipe, wheels._replace(version="0"), compiler, processor=processor),
        build.cache_key(recipe, wheels, sys.executable, processor=processor),
        build.cache_key(recipe, wheels, compiler, processor="another"),
        build.cache_key(recipe, wheels, compiler, processor=processor, jaxlib_version="0"),
    }
    assert len(keys) == 7
    assert build.cache_key(recipe, wheels, compiler, processor=processor) in keys


def test_every_source_file_is_in_the_key():
    read = {path.name for path in build.Recipe().read_by_build()}
    assert {path.name for path in build.HERE.iterdir() if path.suffix in (".cc", ".h")} <= read
