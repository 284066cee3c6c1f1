import pickle
from itertools import islice

import jax
import numpy as np
import pytest

from jax_resnet.data import ArraySplit
from jax_resnet.data.augment import make_augment, normalize
from jax_resnet.data.order import epoch_order
from jax_resnet.data.splits import hold_out
from jax_resnet.errors import BatchSizeError, JaxResnetError, ValSizeError


def numbered(n, classes=10):
    """Images that tell which example they are."""
    images = np.zeros((n, 4, 4, 3), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(n) % 256, np.arange(n) // 256
    return ArraySplit(images, (np.arange(n) % classes).astype(np.int32))


def number(images):
    return images[:, 0, 0, 0].astype(int) + 256 * images[:, 0, 0, 1].astype(int)


def test_an_epoch_shows_every_image_once_and_the_next_in_another_order():
    batches = list(islice(numbered(60).train_batches(20, seed=0), 6))
    first = np.concatenate([batch["index"] for batch in batches[:3]])
    second = np.concatenate([batch["index"] for batch in batches[3:]])
    assert sorted(first) == sorted(second) == list(range(60))
    assert list(first) != list(second)
    for batch in batches:
        np.testing.assert_array_equal(number(batch["image"]), batch["index"])
        np.testing.assert_array_equal(batch["label"], batch["index"] % 10)


def test_batches_continue_from_any_step():
    split = numbered(50)
    whole = list(islice(split.train_batches(8, seed=5), 20))
    for start in (0, 1, 5, 6, 7, 13):
        rest = islice(split.train_batches(8, seed=5, start=start), 20 - start)
        for a, b in zip(whole[start:], rest, strict=True):
            np.testing.assert_array_equal(a["index"], b["index"])


def test_order_depends_on_seed_and_epoch():
    orders = [tuple(epoch_order(100, seed, epoch)) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(orders)) == 4


@pytest.mark.parametrize("batch_size", [0, -1, 51])
def test_a_batch_that_cannot_be_filled_is_refused(batch_size):
    with pytest.raises(ValueError, match=f"1 to 50, the number of training images, not {batch_size}"):
        next(numbered(50).train_batches(batch_size, seed=0))


@pytest.mark.parametrize("batch_size", [1, 7, 16, 128, 10_000])
def test_evaluation_shows_every_example_exactly_once(batch_size):
    n = 317 if batch_size < 10_000 else 10_000
    batches = list(numbered(n).eval_batches(batch_size))
    assert all(batch["image"].shape[0] == batch_size for batch in batches)
    seen = np.concatenate([number(batch["image"])[batch["mask"]] for batch in batches])
    np.testing.assert_array_equal(seen, np.arange(n))


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_each_batch(count):
    split = numbered(50)
    together = [split.train_batches(8, seed=5, start=3, shard=(i, count)) for i in range(count)]
    alone = split.train_batches(8, seed=5, start=3)
    for whole, *parts in islice(zip(alone, *together, strict=True), 10):
        assert all(part["image"].shape[0] == 8 // count for part in parts)
        for name, value in whole.items():
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), value)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 12])
def test_processes_share_an_evaluation_however_the_set_divides(count):
    together = [list(numbered(29).eval_batches(12, shard=(i, count))) for i in range(count)]
    assert {len(batches) for batches in together} == {3}
    seen = [number(part["image"])[part["mask"]] for parts in zip(*together, strict=True) for part in parts]
    np.testing.assert_array_equal(np.concatenate(seen), np.arange(29))


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ValueError, match="a batch of 8 cannot be shared equally by 3 processes"):
        next(numbered(50).train_batches(8, seed=0, shard=(0, 3)))
    with pytest.raises(ValueError, match="a batch of 10 cannot be shared"):
        next(numbered(50).eval_batches(10, shard=(0, 4)))


@pytest.mark.parametrize("size", [10, 37, 50])
def test_a_held_out_set_is_balanced_disjoint_and_seeded(size):
    split = numbered(200)
    rest, val = hold_out(split, size, seed=0)
    counts = np.bincount(val.labels, minlength=10)
    assert counts.sum() == len(val) == size
    assert counts.max() - counts.min() <= 1
    assert sorted([*number(rest.images), *number(val.images)]) == list(range(200))
    np.testing.assert_array_equal(number(rest.images) % 10, rest.labels)
    again = hold_out(split, size, seed=0)[1]
    other = hold_out(split, size, seed=1)[1]
    np.testing.assert_array_equal(again.images, val.images)
    assert set(number(other.images)) != set(number(val.images))


@pytest.mark.parametrize("size", [200, 201, 1000])
def test_a_validation_set_must_leave_something_to_train_on(size):
    with pytest.raises(ValueError, match="hold out at most 190"):
        hold_out(numbered(200), size, seed=0)
    assert len(hold_out(numbered(200), 190, seed=0)[0]) == 10


@pytest.mark.parametrize("size", [0, -3])
def test_a_validation_set_without_an_image_is_refused(size):
    with pytest.raises(ValSizeError, match=f"holds at least 1 image, not {size}"):
        hold_out(numbered(200), size, seed=0)


def test_holding_out_of_a_class_without_images_names_the_class():
    split = numbered(200)
    with pytest.raises(ValSizeError, match="class 3 has no training image") as caught:
        hold_out(split.take(split.labels != 3), 20, seed=0)
    assert caught.value.size == 20
    with pytest.raises(ValSizeError, match="out of 0 images"):
        hold_out(split.take(np.arange(0)), 20, seed=0)


@pytest.mark.parametrize("batch_size", [0, -4])
def test_evaluation_in_batches_of_nothing_is_refused(batch_size):
    with pytest.raises(BatchSizeError, match=f"at least 1 image, not {batch_size}"):
        numbered(50).eval_batches(batch_size)


def test_errors_of_sizes_carry_the_size_also_between_processes():
    with pytest.raises(BatchSizeError) as batch:
        numbered(50).train_batches(51, seed=0)
    with pytest.raises(ValSizeError) as val:
        hold_out(numbered(200), 300, seed=0)
    for error, field, size in ((batch.value, "batch_size", 51), (val.value, "size", 300)):
        assert isinstance(error, JaxResnetError)
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy), getattr(copy, field)) == (type(error), str(error), size)


MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)


def test_normalize_is_its_formula():
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    np.testing.assert_allclose(
        normalize(images, MEAN, STD), (images / 255 - np.array(MEAN)) / np.array(STD), rtol=1e-5, atol=1e-6
    )


def test_augmented_images_are_windows_of_the_padded_image_or_its_mirror():
    rng = np.random.default_rng(0)
    images = rng.integers(1, 256, (64, 6, 6, 3), dtype=np.uint8)
    keys = jax.random.split(jax.random.key(0), 64)
    out = np.asarray(make_augment((0,) * 3, (1 / 255,) * 3, crop_padding=2)(keys, images)).round().astype(int)
    seen = set()
    for image, found in zip(images, out, strict=True):
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
        windows = {
            (y, x, flip): padded[y : y + 6, x : x + 6][:, :: -1 if flip else 1]
            for y in range(5)
            for x in range(5)
            for flip in (False, True)
        }
        matches = [place for place, window in windows.items() if (window == found).all()]
        assert len(matches) == 1
        seen.add(matches[0])
    assert {y for y, _, _ in seen} == {x for _, x, _ in seen} == set(range(5))
    assert {flip for *_, flip in seen} == {False, True}


def test_an_images_augmentation_depends_on_its_own_key_alone():
    images = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3), dtype=np.uint8)
    keys = jax.random.split(jax.random.key(1), 8)
    augment = make_augment(MEAN, STD)
    whole = augment(keys, images)
    for i in (0, 3, 7):
        np.testing.assert_array_equal(augment(keys[i : i + 1], images[i : i + 1])[0], whole[i])


def test_without_crop_and_flip_only_normalization_is_left():
    images = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3), dtype=np.uint8)
    keys = jax.random.split(jax.random.key(1), 8)
    found = make_augment(MEAN, STD, crop_padding=0, flip=False)(keys, images)
    # Compiled as one, a division may become a multiplication: the last digit may differ.
    np.testing.assert_allclose(found, normalize(images, MEAN, STD), rtol=0, atol=1e-6)
