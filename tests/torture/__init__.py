"""Breaks everything around a run, and counts what is lost: python -m tests.torture."""
