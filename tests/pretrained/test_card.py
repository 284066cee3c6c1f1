"""Cards: immutable mappings, checked whatever is in their files."""

import copy
import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from jax_resnet.errors import WeightsError
from jax_resnet.pretrained import Card, load_pretrained, parse_card, read_card
from tests.helpers import published


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    return published.write(tmp_path)


@pytest.fixture
def card(content: dict[str, Any]) -> Card:
    return parse_card(json.dumps(content))


def test_a_card_is_a_mapping_and_has_attributes(card: Card, content: dict[str, Any]) -> None:
    assert list(card) == list(content)
    assert len(card) == len(content)
    assert card["mean"] == card.mean == (0.4, 0.5, 0.6)
    assert card["test_accuracy"] == card.test_accuracy == 0.5
    assert dict(card)["class_names"] == tuple("0123456789")
    assert card["options"]["widths"] == (4, 6, 8)
    assert json.loads(card.to_json()) == content
    assert card.get("nothing") is None
    with pytest.raises(KeyError, match="did you mean test_accuracy"):
        card["test_acuracy"]


def test_a_card_does_not_change(card: Card) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        card.mean = (0.0, 0.0, 0.0)  # type: ignore[misc]
    with pytest.raises(TypeError):
        card["mean"] = (0.0, 0.0, 0.0)  # type: ignore[index]
    with pytest.raises(TypeError):
        card.options["num_classes"] = 3  # type: ignore[index]


def test_cards_are_equal_by_content_and_can_be_copied(card: Card, content: dict[str, Any]) -> None:
    assert card == parse_card(card.to_json()) == pickle.loads(pickle.dumps(card)) == copy.deepcopy(card)
    assert card != parse_card(json.dumps({**content, "seed": 1}))


HOSTILE: list[tuple[dict[str, Any], str]] = [
    ({"name": "../../etc/passwd"}, "name is not such as"),
    ({"name": "other.digits"}, r"the card of tiny\.digits is that of other\.digits"),
    ({"arch": "resnet9"}, r"describes no network: .*did you mean"),
    ({"arch": ["resnet8"]}, "arch is not one line of text"),
    ({"arch": "resnet8\u202e"}, "arch is not one line of text"),
    ({"arch": "resnet9998"}, "a larger network than its weights"),
    ({"options": {"num_classes": 10, "stage_sizes": [4000, 400, 400]}}, "a larger network than its weights"),
    ({"options": {"num_classes": 10, "stage_sizes": [10**9]}}, "describes no network"),
    ({"options": {"num_classes": 10, "norm": "os.system"}}, "describes no network"),
    ({"options": {"num_classes": 10, "name": "resnet20"}}, "options has name"),
    ({"options": {"num_classes": 10, "dtype": "float16"}}, "options has dtype"),
    ({"options": {"num_classes": 10, "widths": {"a": 1}}}, "options is not an object of numbers"),
    ({"options": {"num_classes": 3}}, "options.num_classes is not 10"),
    ({"options": []}, "options is not"),
    ({"image_shape": [32, 32]}, "image_shape is not height, width and channels"),
    ({"image_shape": [10**9, 32, 3]}, "image_shape is not"),
    ({"image_shape": [32, 32, 1]}, "mean has 3 numbers for 1 channels"),
    ({"std": [0.2, 0.0, 0.2]}, "std is not a list of finite numbers above 0"),
    ({"std": [0.2, 0.2]}, "std has 2 numbers for 3 channels"),
    ({"mean": [float("nan")] * 3}, "mean is not"),
    ({"mean": "0.4"}, "mean is not"),
    ({"class_names": ["a", "a"]}, "class_names is not a list of different texts"),
    ({"class_names": ["a\nb"]}, "class_names is not"),
    ({"test_accuracy": 91.25}, "test_accuracy is not a number from 0 to 1"),
    ({"test_accuracy": True}, "test_accuracy is not"),
    ({"test_accuracy": float("inf")}, "test_accuracy is not"),
    ({"test_images": 0}, "test_images is not"),
    ({"val_accuracy": "none"}, "val_accuracy is not a number from 0 to 1, or null"),
    ({"seed": -1}, "seed is not"),
    ({"epochs": 10**400}, "epochs is not"),
    ({"versions": {"jax": 1}}, "versions is not an object of texts"),
    ({"protocol": ""}, "protocol is not one line of text"),
    ({"command": "x" * 10**5}, "command is not one line of text"),
    ({"sha256": "0" * 63}, "sha256 is not 64 hexadecimal digits"),
    ({"sha256": "0" * 64}, "damaged"),
    ({"test_acuracy": 0.5}, "unknown field 'test_acuracy'; did you mean test_accuracy"),
]


@pytest.mark.parametrize(("changes", "message"), HOSTILE, ids=[str(i) for i in range(len(HOSTILE))])
def test_a_hostile_card_is_one_clear_error(changes: Any, message: str, tmp_path: Path) -> None:
    published.write(tmp_path, **changes)
    with pytest.raises(WeightsError, match=message) as caught:
        load_pretrained("tiny.digits", folder=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is not JSON"),
        (b"\xff{}", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b"{}", "has no name"),
        (b'{"name": "' + b"x" * 2**21 + b'"}', "is not JSON"),  # cut at the largest size of a card
    ],
)
def test_what_is_no_card(text: bytes, message: str, content: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "tiny.digits.json").write_bytes(text)
    with pytest.raises(WeightsError, match=rf"the card of tiny\.digits {message}"):
        read_card("tiny.digits", folder=tmp_path)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Card)])
def test_every_field_is_needed(field: str, content: dict[str, Any]) -> None:
    del content[field]
    with pytest.raises(WeightsError, match=f"the card has no {field}"):
        parse_card(json.dumps(content))
