"""Kept runs and the tables made from them: ``python -m experiments.results``."""
