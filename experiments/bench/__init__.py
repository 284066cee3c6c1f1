"""Times training steps, side by side: ``python -m experiments.bench --against torch``."""
