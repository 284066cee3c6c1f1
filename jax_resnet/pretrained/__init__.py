"""Trained networks that ship with the package, each with a card that says where it comes from.

    model, variables, card = jax_resnet.load_pretrained("resnet20.cifar10")
    logits = model.apply(variables, card.preprocess(images), train=False)

Beside this file are, for every name, ``NAME.safetensors`` with torchvision's names and ``NAME.json``, the
card. Importing this needs no other package; JAX is imported when weights are loaded.
"""

from jax_resnet.pretrained.card import Card, parse_card
from jax_resnet.pretrained.files import list_pretrained, read_card, weights_path
from jax_resnet.pretrained.load import Pretrained, load_pretrained

__all__ = [
    "Card",
    "Pretrained",
    "list_pretrained",
    "load_pretrained",
    "parse_card",
    "read_card",
    "weights_path",
]
