import os
import shutil

import numpy as np
import pytest
from PIL import Image

from jax_resnet.data import DataError
from jax_resnet.data.images import ImageError, image_endings
from jax_resnet.data.streaming.dataset import IMAGENET_MEAN, open_streamed
from jax_resnet.data.streaming.folder import read_folder
from jax_resnet.data.streaming.listing import list_images
from jax_resnet.data.streaming.scan import describe_unreadable, find_unreadable


def write(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (10, 8)).save(root / name, "png")


def paths(images):
    return [os.path.relpath(images.name(i), images.root) for i in range(len(images))]


def test_images_are_listed_in_order_with_the_classes_sorted(tmp_path):
    write(tmp_path, "train/b/2.JPG", "train/b/10.jpeg", "train/a/x.png", "train/a/.hidden.png")
    write(tmp_path, "val/a/1.PNG", "val/b/ü.jpg", "train/.cache/1.jpg")
    (tmp_path / "train/b/notes.txt").write_text("none")
    splits, classes = read_folder(tmp_path)
    assert classes == ("a", "b")
    train, val = splits["train"], splits["val"]
    assert paths(train) == ["train/a/x.png", "train/b/10.jpeg", "train/b/2.JPG"]
    np.testing.assert_array_equal(train.labels, [0, 1, 1])
    assert val.name(1).endswith("val/b/ü.jpg")
    assert val.read(1) == ((tmp_path / "val/b/ü.jpg").read_bytes(), 1)


def test_classes_are_sorted_as_text(tmp_path):
    write(
        tmp_path,
        *(f"{part}/{name}/x.png" for part in ("train", "val") for name in ("10", "2", "1", "B", "a")),
    )
    assert read_folder(tmp_path)[1] == ("1", "10", "2", "B", "a")


def test_another_file_gives_another_fingerprint(tmp_path):
    write(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/1.png")
    before = read_folder(tmp_path)[0]["train"].fingerprint
    assert read_folder(tmp_path)[0]["train"].fingerprint == before
    (tmp_path / "train/a/1.png").rename(tmp_path / "train/a/2.png")
    assert read_folder(tmp_path)[0]["train"].fingerprint != before


def test_every_ending_that_pillow_reads_counts_in_any_case(tmp_path):
    assert {".webp", ".bmp", ".gif", ".tif", ".tiff", ".jfif", ".ppm", ".jp2", ".mpo"} <= image_endings()
    assert not {".pdf", ".eps", ".h5", ".mpg", ".txt", ""} & image_endings()
    for number, ending in enumerate(sorted(image_endings())):
        write(tmp_path, f"{number:03}{ending}", f"{number:03}x{ending.upper()}")
    assert len(list_images(tmp_path)[0]) == 2 * len(image_endings())


def test_images_in_folders_of_a_class_folder_are_its_own(tmp_path):
    names = ["a-b/1.png", "a/2.png", "a/b/3.png", "z.png", "a/.hidden/4.png", "__MACOSX/5.png"]
    write(tmp_path, *(f"train/one/{name}" for name in names), "train/two/x/y/1.png", "val/one/deep/1.png")
    splits, classes = read_folder(tmp_path)
    assert classes == ("one", "two")
    found = [f"train/one/{name}" for name in ("z.png", "a/2.png", "a-b/1.png", "a/b/3.png")]
    assert paths(splits["train"]) == [*found, "train/two/x/y/1.png"]
    np.testing.assert_array_equal(splits["train"].labels, [0, 0, 0, 0, 1])
    # The order is that of torchvision's ImageFolder.
    root = tmp_path / "train/one"
    walked = [
        os.path.relpath(os.path.join(place, file), tmp_path)
        for place, _, files in sorted(os.walk(root, followlinks=True))
        for file in sorted(files)
    ]
    assert [path for path in walked if path in found] == found


def tiny_imagenet(root):
    classes = ("n00", "n01", "n02")
    for name in classes:
        write(root, *(f"train/{name}/images/{name}_{i}.JPEG" for i in range(3)))
        (root / f"train/{name}/{name}_boxes.txt").write_text("n00_0.JPEG\t0\t0\t7\t7\n")
    write(root, *(f"val/images/val_{i}.JPEG" for i in range(4)), "test/images/test_0.JPEG")
    lines = [f"val_{i}.JPEG\t{classes[c]}\t0\t0\t7\t7\n" for i, c in enumerate((2, 0, 1, 2))]
    (root / "val/val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("n01\nn00\nn02\n")


def test_tiny_imagenet_is_read_through_its_annotations(tmp_path):
    tiny_imagenet(tmp_path)
    splits, classes = read_folder(tmp_path)
    assert classes == ("n00", "n01", "n02")
    assert set(splits) == {"train", "val"}  # nothing says the test images' classes
    np.testing.assert_array_equal(splits["train"].labels, np.repeat([0, 1, 2], 3))
    np.testing.assert_array_equal(splits["val"].labels, [2, 0, 1, 2])
    assert paths(splits["val"])[1] == "val/images/val_1.JPEG"
    assert splits["val"].read(1)[1] == 0


def test_tiny_imagenet_without_its_training_images_is_tested_on_what_has_labels(tmp_path):
    tiny_imagenet(tmp_path)
    shutil.rmtree(tmp_path / "train")
    splits, classes = read_folder(tmp_path, parts=("val", "test"))
    assert classes == ("n00", "n01", "n02")
    assert set(splits) == {"val"}


def test_any_of_the_splits_is_read_by_itself(tmp_path):
    write(tmp_path, *(f"{part}/{name}/1.png" for part in ("train", "val") for name in "ab"))
    for part in ("train", "val"):
        dataset = open_streamed("t", tmp_path, image_size=8, workers=0, parts=(part,))
        assert len(dataset.test) == len(dataset.train) == 2
        assert dataset.val is None
    with pytest.raises(DataError, match=" has no test with class folders, to test on"):
        open_streamed("t", tmp_path, image_size=8, workers=0, parts=("test",))


def test_annotations_that_do_not_fit_are_named(tmp_path):
    tiny_imagenet(tmp_path)
    annotations = tmp_path / "val/val_annotations.txt"
    whole = annotations.read_text()
    for text, message in [
        (whole + "val_9.JPEG\tn00\n", "names val_9.JPEG, which .*images does not hold"),
        (whole.replace("n01", "n1"), "names the class n1 that .*train has not: did you mean n01"),
        (whole + "val_9.JPEG n00\n", "line 5: a file name, a tab and a class are needed"),
    ]:
        annotations.write_text(text)
        with pytest.raises(DataError, match=message):
            read_folder(tmp_path)
    annotations.unlink()
    with pytest.raises(DataError, match=r"does not say its images' classes: val_annotations.txt is needed"):
        read_folder(tmp_path)


def test_one_line_says_what_was_skipped_and_why(tmp_path):
    tiny_imagenet(tmp_path)
    write(tmp_path, "train/n00/images/.1.png", "train/lonely.png", "val/images/val_7.png")
    (tmp_path / "train/n00/images/dead.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "train/n00/images/self.jpg").symlink_to("self.jpg")
    os.mkfifo(tmp_path / "train/n01/pipe.png")
    lines = []
    splits, _ = read_folder(tmp_path, report=lines.append)
    assert len(splits["train"]) == 9
    [line] = lines
    for reason in (
        "1 hidden",
        "2 links to nothing",
        "1 not files",
        "1 not in the annotations",
        "1 outside the class folders",
        "3 without an image's ending",
    ):
        assert reason in line
    assert "9 files and folders were skipped" in line
    assert "\n" not in line


def test_links_are_followed_and_loops_left(tmp_path):
    write(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/1.png", "elsewhere/2.png", "elsewhere/sub/3.png")
    (tmp_path / "train/a/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "train/a/up").symlink_to(tmp_path / "train/a")
    (tmp_path / "elsewhere/sub/top").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "train/b/4.png").symlink_to(tmp_path / "elsewhere/2.png")
    lines = []
    splits, _ = read_folder(tmp_path, report=lines.append)
    assert paths(splits["train"]) == [
        *("train/a/1.png", "train/a/link/2.png", "train/a/link/sub/3.png"),
        *("train/b/1.png", "train/b/4.png"),
    ]
    assert "2 links to a folder above them" in lines[0]


def test_a_class_without_images_in_a_split_is_reported(tmp_path):
    write(tmp_path, *(f"train/{name}/1.png" for name in "abcd"), "val/c/1.png")
    (tmp_path / "val/a").mkdir()
    (tmp_path / "val/notes").mkdir()
    lines = []
    splits, classes = read_folder(tmp_path, report=lines.append)
    assert classes == ("a", "b", "c", "d")
    np.testing.assert_array_equal(splits["val"].labels, [2])
    assert lines == [f"{tmp_path / 'val'} has no images of 3 of 4 classes: a, b, d"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a/1.png"], "has no train folder: images are looked for in train/CLASS"),
        (["train/a/1.png", "val/a/1.png"], r"holds 1 class folders \(a\), there must be two or more"),
        (
            ["train/a/1.png", "train/b/1.txt", "train/c/x.md", "val/a/1.png"],
            "b holds no images, nor do 1 other",
        ),
        (["train/a/1.png", "train/b/1.png", "val/c/1.png"], "val/c is a class that .*train has not"),
        (["train/1/1.png", "train/2/1.png", "val/01/1.png"], "val/01 is a class .* did you mean 1"),
        (
            ["train/a/1.png", "train/b/1.png", "val/a/1.txt"],
            r"val holds no images \(1 without an image's ending\)",
        ),
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


def test_a_split_to_evaluate_on_needs_no_training_images(tmp_path):
    write(tmp_path, "val/b/1.png", "val/a/1.png")
    splits, classes = read_folder(tmp_path, parts=("val", "test"))
    assert set(splits) == {"val"}
    assert classes == ("a", "b")
    (tmp_path / "train/0").mkdir(parents=True)
    for name in "abc":
        (tmp_path / "train" / name).mkdir()
    splits, classes = read_folder(tmp_path, parts=("val", "test"))
    assert classes == ("0", "a", "b", "c")  # train's folders, though they are empty
    np.testing.assert_array_equal(splits["val"].labels, [1, 2])


@pytest.fixture
def damaged(tmp_path):
    write(tmp_path, *(f"train/{name}/{i}.png" for name in "ab" for i in range(70)), "val/a/1.png")
    whole = (tmp_path / "val/a/1.png").read_bytes()
    (tmp_path / "train/a/3.png").write_bytes(b"")
    (tmp_path / "train/b/5.png").write_bytes(whole[:-30])
    (tmp_path / "train/b/69.png").write_text("<html>not found</html>")
    return tmp_path


def test_a_scan_names_all_unreadable_images_at_once(damaged):
    train = read_folder(damaged)[0]["train"]
    done = []
    errors = find_unreadable(train, threads=1, progress=done.append)
    assert sum(done) == len(train)
    assert len(done) > 1
    assert [os.path.basename(error.name) for error in errors.values()] == ["3.png", "5.png", "69.png"]
    assert all(isinstance(error, ImageError) and train.name(i) == error.name for i, error in errors.items())
    assert errors == {i: errors[i] for i in find_unreadable(train, threads=3)}
    message = describe_unreadable(list(errors.values()), len(train))
    assert "3 of 140 images cannot be read" in message
    assert "train/a/3.png (it is empty)" in message
    assert "\n" not in message
    assert find_unreadable(read_folder(damaged)[0]["val"]) == {}


def test_unreadable_images_are_left_out_on_request(damaged):
    lines = []
    splits, _ = read_folder(damaged, skip_unreadable=True, report=lines.append)
    train = splits["train"]
    assert len(train) == 137
    np.testing.assert_array_equal(np.bincount(train.labels), [69, 68])
    assert find_unreadable(train) == {}
    assert lines[0] == "decoding 140 images of train to find those that cannot be read ..."
    assert "3 of 140 images cannot be read" in lines[1]
    assert lines[1].endswith("; they are left out")
    for file in (damaged / "train/b").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DataError, match="train/b holds no images"):
        read_folder(damaged, skip_unreadable=True)


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
