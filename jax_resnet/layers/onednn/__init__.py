"""Convolution on CPU by oneDNN: an extension that is compiled on first use, where it can be."""
