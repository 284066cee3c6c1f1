"""How many threads a program computes with. Imports no jax, which reads the number once."""

import os

__all__ = ["limit_threads"]

# XLA's pool of threads, and OpenMP's, with which the convolutions compute.
VARIABLES = ("NPROC", "OMP_NUM_THREADS")


def limit_threads(count: int | None) -> None:
    """Limits the threads of this process, and of those it starts; must come before jax is imported.

    Two programs on the same cores, each with a thread per core, wait for each other's threads in every
    operation.
    """
    if count is not None:
        for name in VARIABLES:
            os.environ[name] = str(count)
