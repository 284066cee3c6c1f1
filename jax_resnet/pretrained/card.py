"""The card of a pretrained network: what it is, what it was trained on, how, and how well it does."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from jax_resnet._text import did_you_mean
from jax_resnet.errors import ModelError, WeightsError
from jax_resnet.pretrained.schema import CHECKS

if TYPE_CHECKING:
    import jax
    import numpy as np

__all__ = ["Card", "parse_card"]


@dataclasses.dataclass(frozen=True, eq=False)  # equal as mappings are
class Card(Mapping[str, Any]):
    """An immutable mapping of the fields below, which are attributes too: ``card["mean"]``, ``card.mean``.

    Attributes:
        name: Name of the weights: "resnet20.cifar10".
        arch: Name of the network; ``create_model(card.arch, **card.options)`` builds it.
        options: The other arguments of ``create_model``, ``num_classes`` among them.
        parameters: Number of trainable parameters.
        dataset: Name of the data set.
        image_shape: ``(height, width, channels)`` of the images.
        mean: Per-channel mean of pixels scaled to [0, 1].
        std: Per-channel standard deviation of pixels scaled to [0, 1].
        class_names: The name of each output.
        test_accuracy: Fraction of the test set that these weights get right, computed in float32 without
            test-time augmentation: what ``experiments.evaluate`` finds.
        test_images: Number of images in the test set.
        run_test_accuracy: What the run that trained them reported, in its own dtype on its own machine.
        val_accuracy: Best accuracy on the images held out in training; None where none were.
        protocol: What was trained on, what chose the checkpoint, how often the test set was looked at.
        command: The command that trains it.
        commit: The commit of this project that trained it.
        seed: Seed of the run.
        epochs: Length of the training, in passes over the training images.
        step: The step of these weights.
        seconds: Duration of the training.
        machine: The devices it was trained on.
        versions: Versions of the packages it was trained with.
        weights_license: License of the weights.
        data_license: License of the data, or who made it where none is stated.
        sha256: SHA-256 of the weights' file.
    """

    name: str
    arch: str
    options: Mapping[str, Any]
    parameters: int
    dataset: str
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    test_accuracy: float
    test_images: int
    run_test_accuracy: float
    val_accuracy: float | None
    protocol: str
    command: str
    commit: str
    seed: int
    epochs: float
    step: int
    seconds: float
    machine: str
    versions: Mapping[str, str]
    weights_license: str
    data_license: str
    sha256: str

    def __getitem__(self, key: str) -> Any:
        if key in CHECKS:
            return getattr(self, key)
        hint = did_you_mean(str(key), CHECKS)
        raise KeyError(f"{key!r}; {hint}" if hint else key)

    def __iter__(self) -> Iterator[str]:
        return iter(CHECKS)

    def __len__(self) -> int:
        return len(CHECKS)

    def __reduce__(self) -> tuple[Any, ...]:  # a read-only view of a dict cannot be pickled
        return parse_card, (self.to_json(),)

    def to_json(self) -> str:
        """The card as ``parse_card`` reads it."""
        content = {key: dict(value) if isinstance(value, Mapping) else value for key, value in self.items()}
        return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"

    def preprocess(self, images: "np.ndarray | jax.Array") -> "jax.Array":
        """Normalizes images as in training.

        Args:
            images: ``(N, height, width, channels)`` of ``image_shape``, uint8 or floats from 0 to 1. Images
                of another size are the caller's to resize.

        Returns:
            float32, of the same shape: what the network takes.

        Raises:
            ModelError: Images of another shape.
            AugmentError: Another dtype, or floats outside [0, 1].
        """
        import jax
        import numpy as np

        from jax_resnet.data.augment import normalize

        found = np.shape(images)
        if len(found) != 4 or found[1:] != self.image_shape:
            size = ", ".join(map(str, self.image_shape))
            alone = ": one image is images[None]" if found == self.image_shape else ""
            raise ModelError(f"{self.name} takes images of shape (N, {size}), not {found}{alone}")
        if not isinstance(images, jax.Array):
            images = np.asarray(images)
            images = images.astype(images.dtype.newbyteorder("="), copy=False)  # the only one that jax takes
        return normalize(images, self.mean, self.std)


def parse_card(text: str | bytes, source: str = "the card") -> Card:
    """Reads a card and checks every value.

    Args:
        text: A JSON object, in UTF-8 where it is bytes.
        source: What an error message calls it.

    Raises:
        WeightsError: A field is missing, unknown, of another kind, or contradicts another; the message says
            which.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):  # not UTF-8, not JSON, nested too deeply
        raise WeightsError(f"{source} is not JSON") from None
    if not isinstance(content, dict):
        raise WeightsError(f"{source} is not a JSON object")
    if missing := [key for key in CHECKS if key not in content]:
        raise WeightsError(f"{source} has no {missing[0]}")
    if unknown := [key for key in content if key not in CHECKS]:
        hint = did_you_mean(unknown[0], CHECKS)
        raise WeightsError(f"{source} has an unknown field {unknown[0][:40]!r}{f'; {hint}' if hint else ''}")
    for key, check in CHECKS.items():
        if not check.accepts(content[key]):
            raise WeightsError(f"{source}: {key} is not {check.description}")
    if problem := _contradiction(content):
        raise WeightsError(f"{source}: {problem}")
    return Card(**{key: _frozen(value) for key, value in content.items()})


def _contradiction(content: Mapping[str, Any]) -> str:
    channels, classes = content["image_shape"][2], len(content["class_names"])
    for key in ("mean", "std"):
        if len(content[key]) != channels:
            return f"{key} has {len(content[key])} numbers for {channels} channels"
    if content["options"].get("num_classes") != classes:
        return f"options.num_classes is not {classes}, the number of class_names"
    if given := {"name", "dtype"} & set(content["options"]):
        return f"options has {min(given)}, which is not for a card to say"
    return ""


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    if isinstance(value, dict):
        return MappingProxyType({key: _frozen(item) for key, item in value.items()})
    return value
