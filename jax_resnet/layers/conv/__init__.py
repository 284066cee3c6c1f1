"""Convolution: one function over several implementations."""
