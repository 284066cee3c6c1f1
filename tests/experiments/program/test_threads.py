"""--threads reaches XLA's pool and the convolutions."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os
import experiments.training.run
from experiments.cifar10 import main

def report(config, console):
    import jax
    from jax_resnet.layers.onednn.library import thread_count
    jax.block_until_ready(jax.numpy.ones((300, 300)) @ jax.numpy.ones((300, 300)))
    names = [open(f"/proc/self/task/{task}/comm").read() for task in os.listdir("/proc/self/task")]
    print(thread_count(), sum("Eigen" in name for name in names))

experiments.training.run.run = report
main(["--dataset", "digits", "--arch", "resnet8", *%r])
"""


def counts(*flags):
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM % (flags,)],
        capture_output=True,
        text=True,
        env={name: v for name, v in os.environ.items() if name not in ("NPROC", "OMP_NUM_THREADS")},
    )
    assert process.returncode == 0, process.stderr
    return [int(number) for number in process.stdout.splitlines()[-1].split()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
def test_the_number_of_threads_is_the_programs():
    assert counts("--threads", "1") == [1, 1]
    assert counts("--threads", "3") == [min(3, len(os.sched_getaffinity(0))), 3]
