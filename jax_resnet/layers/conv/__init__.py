"""Convolution: one function with several implementations."""
