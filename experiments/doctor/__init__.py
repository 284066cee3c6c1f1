"""What works here and what does not: ``python -m experiments.doctor``."""
