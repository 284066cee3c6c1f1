"""Batch normalization, fused with the addition of a residual and the ReLU where that is faster."""
