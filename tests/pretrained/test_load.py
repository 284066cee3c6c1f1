"""Pretrained networks by name: the network, its weights, its images, and what is said of wrong names."""

import errno
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_resnet
from jax_resnet.convert import read_state_dict
from jax_resnet.errors import AugmentError, ModelError, WeightsError
from jax_resnet.pretrained import list_pretrained, load_pretrained, read_card, weights_path
from tests.helpers import published, quick

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights and cards of three names. Not to be written to."""
    path = tmp_path_factory.mktemp("pretrained")
    for name in ("tiny.digits", "tiny110.digits", "tiny20.digits"):
        published.write(path, name)
    (path / "notes.json").write_text("{}")  # without weights: no name
    (path / "__init__.py").write_text("")
    return path


def test_the_round_trip_gives_the_same_numbers(folder: Path) -> None:
    model, variables, card = load_pretrained("tiny.digits", folder=folder)
    jax.tree.map(np.testing.assert_array_equal, variables, published.VARIABLES)
    assert model.widths == (4, 6, 8)
    assert card == read_card("tiny.digits", folder=folder)
    run = quick.jit(lambda v, x: model.apply(v, x, train=False))
    mean, std = np.float32(card.mean), np.float32(card.std)
    by_hand = (np.float32(IMAGES) / 255 - mean) / std
    np.testing.assert_allclose(
        run(variables, card.preprocess(IMAGES)), run(published.VARIABLES, by_hand), rtol=1e-5, atol=1e-5
    )


def test_names_are_listed_in_natural_order_by_pattern(folder: Path, tmp_path: Path) -> None:
    assert list_pretrained(folder=folder) == ["tiny.digits", "tiny20.digits", "tiny110.digits"]
    assert list_pretrained("*0.digits", folder=folder) == ["tiny20.digits", "tiny110.digits"]
    assert list_pretrained("*.cifar10", folder=folder) == list_pretrained(folder=tmp_path) == []
    assert list_pretrained("*") == jax_resnet.list_pretrained()  # the package's own, be it empty


def test_images_are_normalized_whatever_they_are_given_as(folder: Path) -> None:
    loaded = load_pretrained("tiny.digits", folder=folder)
    expected = loaded.preprocess(IMAGES)
    assert expected.dtype == jnp.float32
    assert expected.shape == IMAGES.shape
    floats = np.float32(IMAGES) / 255
    for images in (jnp.asarray(IMAGES), floats, np.float64(IMAGES) / 255, floats.astype(">f4")):
        np.testing.assert_allclose(loaded.preprocess(images), expected, atol=1e-5)
    np.testing.assert_allclose(jax.jit(loaded.card.preprocess)(IMAGES), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[0], r"not \(32, 32, 3\): one image is images\[None\]"),
        (IMAGES[:, :28], r"tiny\.digits takes images of shape \(N, 32, 32, 3\), not \(3, 28, 32, 3\)"),
        (IMAGES.transpose(0, 3, 1, 2), r"not \(3, 3, 32, 32\)"),
        (np.int32(IMAGES), "uint8"),
        (np.float32(IMAGES), "divide by 255"),
        (np.full(IMAGES.shape, np.nan, np.float32), "values from 0 to 1, not NaN"),
        (IMAGES.astype(object), "not object"),
    ],
)
def test_images_that_it_cannot_take(images: Any, message: str, folder: Path) -> None:
    with pytest.raises((ModelError, AugmentError), match=message):
        read_card("tiny.digits", folder=folder).preprocess(images)


def test_another_class_count_has_a_new_head_on_the_same_network(folder: Path) -> None:
    model, variables, _ = load_pretrained("tiny.digits", num_classes=4, key=jax.random.key(1), folder=folder)
    assert model.num_classes == 4
    head = variables["params"].pop("head")
    assert head["kernel"].shape == (8, 4)
    assert head["kernel"].std() > 0
    assert not head["bias"].any()
    rest = {name: value for name, value in published.VARIABLES["params"].items() if name != "head"}
    jax.tree.map(np.testing.assert_array_equal, variables["params"], rest)
    # Of the same count only on demand.
    kept = load_pretrained("tiny.digits", num_classes=10, folder=folder).variables["params"]["head"]
    np.testing.assert_array_equal(kept["kernel"], published.VARIABLES["params"]["head"]["kernel"])
    fresh = load_pretrained("tiny.digits", fresh_head=True, folder=folder).variables["params"]["head"]
    assert not np.array_equal(fresh["kernel"], kept["kernel"])


def test_a_head_without_bias_has_a_new_one_drawn_as_the_network_draws_it() -> None:
    model, variables, card = load_pretrained("airbench95.cifar10", num_classes=4, key=jax.random.key(1))
    (name,) = variables["params"]["head"]
    kernel = variables["params"]["head"][name]
    assert (name, kernel.shape) == ("kernel", (384, 4))
    drawn = model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)["params"]["head"]["kernel"]
    assert np.abs(kernel).max() == pytest.approx(np.abs(drawn).max(), rel=0.05)
    images = card.preprocess(IMAGES)
    assert model.apply(variables, images, train=False).shape == (3, 4)


def test_no_head(folder: Path) -> None:
    model, variables, card = load_pretrained("tiny.digits", num_classes=0, folder=folder)
    assert "head" not in variables["params"]
    run = quick.jit(lambda v, x: model.apply(v, x, train=False))
    assert run(variables, card.preprocess(IMAGES)).shape == (3, 8)


def test_options_that_leave_the_weights_as_they_are(folder: Path) -> None:
    model, variables, card = load_pretrained("tiny.digits", dtype=jnp.bfloat16, frozen="all", folder=folder)
    assert model.dtype == jnp.bfloat16
    assert variables["params"]["head"]["kernel"].dtype == np.float32
    exact = quick.jit(lambda v, x: published.MODEL.apply(v, x, train=False))
    half = quick.jit(lambda v, x: model.apply(v, x, train=False))
    images = card.preprocess(IMAGES)
    expected = np.asarray(exact(variables, images))
    np.testing.assert_allclose(half(variables, images), expected, atol=0.1 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stage_sizes": (2, 2, 2)}, "the weights do not fit ResNet"),
        ({"shortcut": "B"}, "shortcut"),
        ({"drop_pth": 0.1}, "did you mean 'drop_path'"),
        ({"num_classes": -1}, "num_classes"),
    ],
)
def test_options_that_do_not_fit(options: Any, message: str, folder: Path) -> None:
    with pytest.raises((WeightsError, ModelError), match=message):
        load_pretrained("tiny.digits", **options, folder=folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny", r"no pretrained network is called 'tiny'; "),
        ("tiny20.digit", r"did you mean tiny20\.digits"),
        ("nothing.like.it", r"there are tiny\.digits, tiny20\.digits, tiny110\.digits"),
        ("../tiny.digits", "no pretrained network is called"),
        ("notes", "no pretrained network is called"),
        ("", "no pretrained network is called"),
        (None, "no pretrained network is called None"),
    ],
)
def test_unknown_names(name: Any, message: str, folder: Path) -> None:
    for call in (load_pretrained, read_card, weights_path):
        with pytest.raises(WeightsError, match=message):
            call(name, folder=folder)


def test_folders_without_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there are none in this installation"):
        load_pretrained("resnet20.cifar10", folder=tmp_path)
    with pytest.raises(WeightsError, match="none cannot be read: No such file"):
        load_pretrained("resnet20.cifar10", folder=tmp_path / "none")


@pytest.mark.parametrize("missing", ["tiny.digits.safetensors", "tiny.digits.json"])
def test_half_a_network_is_named(missing: str, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "half")
    (tmp_path / "half" / missing).unlink()
    with pytest.raises(WeightsError, match=f"^{missing} is missing: install the package again"):
        load_pretrained("tiny.digits", folder=tmp_path / "half")


def test_the_file_has_torchvisions_names(folder: Path) -> None:
    path = weights_path("tiny.digits", folder=folder)
    assert path == folder / "tiny.digits.safetensors"
    assert {"conv1.weight", "bn1.running_mean", "layer2.0.conv1.weight", "fc.bias"} <= set(
        read_state_dict(path)
    )


@pytest.mark.parametrize("damage", ["bit", "cut", "empty", "other"])
def test_damaged_weights_are_named(damage: str, tmp_path: Path) -> None:
    published.write(tmp_path)
    path = tmp_path / "tiny.digits.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    pointer = b"version https://git-lfs.github.com/spec/v1"
    path.write_bytes({"bit": bytes(content), "cut": content[:1000], "empty": b"", "other": pointer}[damage])
    with pytest.raises(WeightsError, match=r"the weights of tiny\.digits are damaged: .* SHA-256"):
        load_pretrained("tiny.digits", folder=tmp_path)


@pytest.mark.parametrize(("what", "suffix"), [("card", "json"), ("weights", "safetensors")])
def test_files_that_may_not_be_read(
    what: str, suffix: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readable = Path.open

    def opened(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.suffix == f".{suffix}":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return readable(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", opened)  # who is root may read whatever its permissions say
    with pytest.raises(WeightsError, match=rf"^the {what} of tiny\.digits cannot be read: Permission denied"):
        load_pretrained("tiny.digits", folder=folder)


def test_weights_of_another_network_than_the_card_says(tmp_path: Path) -> None:
    published.write(tmp_path, arch="resnet14")
    with pytest.raises(WeightsError, match="do not fit ResNet"):
        load_pretrained("tiny.digits", folder=tmp_path)


def test_the_package_reads_its_weights_inside_a_zip_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "wheel.whl", "w") as archive:
        for file in os.listdir(folder):
            archive.write(folder / file, f"pretrained/{file}")
    monkeypatch.setattr(
        "jax_resnet.pretrained.files.FOLDER", zipfile.Path(tmp_path / "wheel.whl", "pretrained/")
    )
    assert len(list_pretrained()) == 3
    variables = load_pretrained("tiny.digits").variables
    jax.tree.map(np.testing.assert_array_equal, variables, published.VARIABLES)
    with pytest.raises(WeightsError, match="inside a zip file"):
        weights_path("tiny.digits")
