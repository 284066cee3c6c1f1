"""Convolution and batch normalization on CPU by an extension over oneDNN, compiled on first use."""
