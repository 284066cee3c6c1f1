import subprocess
import sys

PROGRAM = """
import importlib, pkgutil, sys
import experiments.report
for module in pkgutil.iter_modules(experiments.report.__path__, "experiments.report."):
    importlib.import_module(module.name)
heavy = {"jax", "flax", "optax", "orbax", "tensorboardX", "tensorflow_datasets", "experiments.training"}
print(*sorted(heavy & set(sys.modules)))
"""


def test_reports_are_read_without_jax_and_the_training_loop():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
