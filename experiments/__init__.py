"""Runnable experiments: ``python -m experiments.cifar10 --help``."""
