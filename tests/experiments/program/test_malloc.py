"""The settings of malloc, which must precede JAX, in processes of their own."""

import os
import subprocess
import sys

import pytest


def run(code, **environment):
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


SAY = (
    "from experiments.program import malloc as allocator; said = allocator.keep_freed_memory(); "
    "assert said == allocator.malloc_state(); print(said)"
)


def test_the_module_does_without_jax():
    assert (
        run("import sys, experiments.program.malloc; print('jax' in sys.modules, 'numpy' in sys.modules)")
        == "False False"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_it_says_what_it_did():
    assert "keeps freed memory" in run(SAY, JAX_RESNET_MALLOC="1")
    assert run(SAY, JAX_RESNET_MALLOC="0").endswith("JAX_RESNET_MALLOC=0")
    assert run(f"import jax; {SAY}", JAX_RESNET_MALLOC="1").endswith("jax was imported before")
    other = "import platform; platform.libc_ver = lambda: ('', ''); "
    assert "no glibc" in run(other + SAY, JAX_RESNET_MALLOC="1")


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_freed_memory_is_reused_without_page_faults():
    code = """
import resource
import experiments.program.malloc as allocator
allocator.keep_freed_memory()
def touch():
    bytearray(b"1" * 2**24)
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
assert allocator.peak_memory_bytes() > 2**24
"""
    kept, returned = (int(run(code, JAX_RESNET_MALLOC=value)) for value in "10")
    assert kept < 1000 < returned


def test_importing_the_library_sets_nothing():
    code = "import ctypes; ctypes.CDLL = None; import jax_resnet, experiments.program.malloc; print('fine')"
    assert run(code) == "fine"
