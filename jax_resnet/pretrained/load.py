"""``load_pretrained``: a trained network by its name."""

from typing import TYPE_CHECKING, Any, NamedTuple

from jax_resnet._text import first_line
from jax_resnet.errors import WeightsError
from jax_resnet.pretrained.card import Card
from jax_resnet.pretrained.files import Folder, check_sum, read_card, weights_file

if TYPE_CHECKING:
    import jax
    import numpy as np

    from jax_resnet.models.create import Model

__all__ = ["Pretrained", "load_pretrained"]


class Pretrained(NamedTuple):
    """A trained network.

    Attributes:
        model: The network, from ``create_model``.
        variables: ``{"params", "batch_stats"}`` of float32 numpy arrays.
        card: What it is, what it was trained on, how, and how well it does.
    """

    model: "Model"
    variables: dict[str, Any]
    card: Card

    def preprocess(self, images: "np.ndarray | jax.Array") -> "jax.Array":
        """Normalizes images as in training: see ``Card.preprocess``."""
        return self.card.preprocess(images)


def load_pretrained(
    name: str,
    *,
    num_classes: int | None = None,
    fresh_head: bool = False,
    key: "jax.Array | None" = None,
    folder: Folder = None,
    **options: Any,
) -> Pretrained:
    """Loads a trained network from the files of this package; no network connection is needed.

        model, variables, card = jax_resnet.load_pretrained("resnet20.cifar10")
        logits = model.apply(variables, card.preprocess(images), train=False)

    Args:
        name: One of ``list_pretrained()``.
        num_classes: Outputs. The head is a new one where they are others than the weights'; 0 leaves it out.
        fresh_head: Make a new head in any case.
        key: For the new head's kernel; ``jax.random.key(0)`` where None.
        folder: Where weights and cards are; the package's own by default.
        **options: Other arguments of ``create_model`` that leave the weights as they are:
            ``dtype=jnp.bfloat16`` (the default is float32, whatever it was trained in), ``frozen="all"``,
            ``scan_layers=True``, ``drop_path=0.1``.

    Returns:
        The network, its variables and its card.

    Raises:
        WeightsError: There is no such name, with near misses; its files are damaged; or the weights do not
            fit the options.
        ModelError: An option or a value that the network does not have.
    """
    from jax_resnet.convert import from_torch, read_weights
    from jax_resnet.models import create_model

    card = read_card(name, folder=folder)
    with weights_file(name, folder=folder) as path:
        check_sum(path, card)
        state_dict = read_weights(path).state_dict
    _check_described(card, len(state_dict))
    classes = card.options["num_classes"] if num_classes is None else num_classes
    model: Any = create_model(card.arch, **{**card.options, **options, "num_classes": classes})
    headless = classes == 0
    # A network without a head is read with the head that it has in the file, which is then dropped.
    whole = model.clone(num_classes=card.options["num_classes"]) if headless else model
    variables = from_torch(
        state_dict,
        whole,
        style="torchvision",
        image_shape=card.image_shape,
        fresh_head=not headless and (fresh_head or classes != card.options["num_classes"]),
        key=key,
    )
    if headless:
        del variables["params"]["head"]
    return Pretrained(model, variables, card)


def _check_described(card: Card, arrays: int) -> None:
    """Checks that a card's network can be built, before the caller's options come into play."""
    from jax_resnet.convert.template import template
    from jax_resnet.models import create_model

    try:
        model = create_model(card.arch, **card.options)
        too_large = sum(getattr(model, "stage_sizes", ())) > arrays  # tracing it could take minutes
        if not too_large:
            template(model, card.image_shape)
    except Exception as error:  # options may hold anything
        raise WeightsError(f"the card of {card.name} describes no network: {first_line(error)}") from None
    if too_large:
        raise WeightsError(f"the card of {card.name} describes a larger network than its weights are of")
