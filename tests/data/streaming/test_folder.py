import os

import numpy as np
import pytest
from PIL import Image

from jax_resnet.data import DataError
from jax_resnet.data.streaming.dataset import IMAGENET_MEAN, open_streamed
from jax_resnet.data.streaming.folder import read_folder


def write(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (10, 8)).save(root / name, "png")


def test_pictures_are_listed_in_order_with_the_classes_sorted(tmp_path):
    write(tmp_path, "train/b/2.JPG", "train/b/10.jpeg", "train/a/x.png", "train/a/.hidden.png")
    write(tmp_path, "val/a/1.PNG", "val/b/ü.jpg", "train/.cache/1.jpg")
    (tmp_path / "train/b/notes.txt").write_text("none")
    splits, classes = read_folder(tmp_path)
    assert classes == ("a", "b")
    train, val = splits["train"], splits["val"]
    names = [os.path.relpath(train.name(i), tmp_path) for i in range(len(train))]
    assert names == ["train/a/x.png", "train/b/10.jpeg", "train/b/2.JPG"]
    np.testing.assert_array_equal(train.labels, [0, 1, 1])
    assert val.name(1).endswith("val/b/ü.jpg")
    assert val.read(1) == ((tmp_path / "val/b/ü.jpg").read_bytes(), 1)


def test_another_file_gives_another_fingerprint(tmp_path):
    write(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/1.png")
    before = read_folder(tmp_path)[0]["train"].fingerprint
    assert read_folder(tmp_path)[0]["train"].fingerprint == before
    (tmp_path / "train/a/1.png").rename(tmp_path / "train/a/2.png")
    assert read_folder(tmp_path)[0]["train"].fingerprint != before


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a/1.png"], "has no train folder: pictures are looked for in train/CLASS"),
        (["train/a/1.png", "val/a/1.png"], "holds 1 class folders, there must be two or more"),
        (
            ["train/a/1.png", "train/b/1.gif", "val/a/1.png"],
            r"train/b holds no pictures \(.jpg, .jpeg, .png\)",
        ),
        (["train/a/1.png", "train/b/1.png", "val/c/1.png"], "val/c is a class that .*train has not"),
        (["train/a/1.png", "train/b/1.png", "val/a/1.gif"], "val holds no pictures"),
        (["train/a/1.png", "train/b/1.png", "val/1.png"], "neither val nor test with class folders"),
        (["train/a/1.png", "train/b/1.png"], "neither val nor test with class folders"),
    ],
)
def test_a_folder_of_another_layout_is_named(tmp_path, names, message):
    write(tmp_path, *names)
    with pytest.raises(DataError, match=message) as caught:
        read_folder(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere is no folder"):
        read_folder(tmp_path / "nowhere")


def test_the_one_split_beside_train_is_the_test_set(tmp_path):
    write(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/1.png", "test/1.png")
    dataset = open_streamed("folder", tmp_path, image_size=32, workers=0)
    assert dataset.val is None
    assert len(dataset.test) == 1
    assert dataset.class_names == ("a", "b")
    assert dataset.mean == IMAGENET_MEAN
    write(tmp_path, "test/a/1.png", "test/b/1.png")
    dataset = open_streamed("folder", tmp_path, image_size=32, workers=0)
    assert (len(dataset.val), len(dataset.test)) == (1, 2)
    assert dataset.test.image_shape == (32, 32, 3)
