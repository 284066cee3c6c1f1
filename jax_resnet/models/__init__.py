"""The ResNet family: ``create_model("resnet18")`` and the modules behind it."""

from jax_resnet.models.blocks import BasicBlock, Block, BottleneckBlock
from jax_resnet.models.create import Model, create_model
from jax_resnet.models.feature_info import FeatureInfo, feature_info
from jax_resnet.models.fold import fold_batch_norm
from jax_resnet.models.group_norm import GroupNorm
from jax_resnet.models.mnist import MnistCNN, MnistPreActResNet
from jax_resnet.models.registry import list_models
from jax_resnet.models.resnet import ResNet
from jax_resnet.models.stack import stack_blocks, unstack_blocks
from jax_resnet.models.summary import Summary, summary
from jax_resnet.models.vgg import VGG
from jax_resnet.models.whitened import WhitenedResNet
from jax_resnet.models.whitening import whitening_kernel

__all__ = [
    "VGG",
    "BasicBlock",
    "Block",
    "BottleneckBlock",
    "FeatureInfo",
    "GroupNorm",
    "MnistCNN",
    "MnistPreActResNet",
    "Model",
    "ResNet",
    "Summary",
    "WhitenedResNet",
    "create_model",
    "feature_info",
    "fold_batch_norm",
    "list_models",
    "stack_blocks",
    "summary",
    "unstack_blocks",
    "whitening_kernel",
]
