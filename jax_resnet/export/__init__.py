"""Trained networks as files that other programs run: StableHLO for JAX, ONNX for everything else.

PyTorch and safetensors files are written by ``jax_resnet.convert``, checkpoints by ``jax_resnet.checkpoint``.
"""

from jax_resnet.export.onnx_export import to_onnx
from jax_resnet.export.program import inference_function
from jax_resnet.export.stablehlo import to_stablehlo

__all__ = ["inference_function", "to_onnx", "to_stablehlo"]
