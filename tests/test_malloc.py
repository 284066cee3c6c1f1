"""The settings of malloc, which must precede JAX's threads, in processes of their own."""

import importlib.metadata
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
    "from jax_resnet import _malloc as allocator; said = allocator.keep_freed_memory(); "
    "assert said == allocator.malloc_state(); print(said)"
)


def test_the_module_does_without_jax():
    assert (
        run("import sys, jax_resnet._malloc; print('jax' in sys.modules, 'numpy' in sys.modules)")
        == "False False"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_it_says_what_it_did():
    assert "keeps freed memory" in run(SAY, JAX_RESNET_MALLOC="1")
    assert run(SAY, JAX_RESNET_MALLOC="0").endswith("JAX_RESNET_MALLOC=0")
    assert "keeps freed memory" in run(f"import jax; {SAY}", JAX_RESNET_MALLOC="1")
    late = run(f"import jax; jax.random.key(0); {SAY}", JAX_RESNET_MALLOC="1")
    assert "JAX has computed before" in late
    other = "import platform; platform.libc_ver = lambda: ('', ''); "
    assert "no glibc" in run(other + SAY, JAX_RESNET_MALLOC="1")


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_freed_memory_is_reused_without_page_faults():
    code = """
import resource
import jax_resnet._malloc as allocator
from experiments.program.memory import peak_memory_bytes
allocator.keep_freed_memory()
def touch():
    bytearray(b"1" * 2**24)
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
assert peak_memory_bytes() > 2**24
"""
    kept, returned = (int(run(code, JAX_RESNET_MALLOC=value)) for value in "10")
    assert kept < 1000 < returned


def test_importing_the_package_sets_nothing():
    code = "import ctypes; ctypes.CDLL = None; import jax_resnet, jax_resnet._malloc; print('fine')"
    assert run(code) == "fine"


WANTED = any(found.name == "onednn-cpu-gomp" for found in importlib.metadata.distributions())
WITHOUT = """
import importlib.metadata
import sys

def files(name):
    raise importlib.metadata.PackageNotFoundError(name)

importlib.metadata.files = files
sys.prefix = "/nowhere"
"""
USE = "import jax, jax_resnet.models, jax_resnet._malloc as m; print(m.malloc_state())"


@pytest.mark.skipif(sys.platform != "linux" or not WANTED, reason="needs glibc and the extra cpu")
def test_importing_the_networks_sets_it_where_the_extension_is_wanted():
    assert "keeps freed memory" in run(USE, JAX_RESNET_MALLOC="1")
    assert run(USE, JAX_RESNET_MALLOC="0").endswith("JAX_RESNET_MALLOC=0")
    assert run(WITHOUT + USE, JAX_RESNET_MALLOC="1").endswith("not asked for")
