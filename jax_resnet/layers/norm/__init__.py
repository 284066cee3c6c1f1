"""BatchNorm, fused with the residual addition and ReLU where that pays."""
