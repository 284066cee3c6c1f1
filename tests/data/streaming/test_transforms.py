import io

import numpy as np
import pytest
from PIL import Image

from jax_resnet.data import DataError
from jax_resnet.data.streaming.transforms import center_crop, decode, random_crop_box, random_resized_crop


def encode(picture, form="png", **options):
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def noise(width, height):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (64, 64)])
def test_random_windows_lie_inside_and_have_the_areas_and_shapes_they_should(size):
    width, height = size
    rng = np.random.default_rng(0)
    boxes = np.array([random_crop_box(rng, width, height) for _ in range(2000)])
    left, upper, right, lower = boxes.T
    assert (left >= 0).all()
    assert (upper >= 0).all()
    assert (right <= width).all()
    assert (lower <= height).all()
    w, h = right - left, lower - upper
    area, ratio = w * h / (width * height), w / h
    rounding = 1.5 / min(w.min(), h.min())
    assert 0.08 * (1 - 2 * rounding) < area.min() < 0.1
    assert area.max() > 0.9
    assert 3 / 4 * (1 - rounding) < ratio.min() < 0.77
    assert 1.31 < ratio.max() < 4 / 3 * (1 + rounding)
    # A window that fits any picture may have any shape, evenly on a logarithmic scale, and lie anywhere.
    small = area < 0.4
    np.testing.assert_allclose(np.log(ratio[small]).mean(), 0, atol=0.03)
    np.testing.assert_allclose(((left + right) / 2 / width).mean(), 0.5, atol=0.02)
    np.testing.assert_allclose(area[small].mean(), (0.08 + 0.4) / 2, atol=0.02)


def test_where_no_window_fits_it_is_the_middle():
    rng = np.random.default_rng(0)
    assert random_crop_box(rng, 12, 1000) == (0, 492, 12, 508)
    assert random_crop_box(rng, 1000, 12) == (492, 0, 508, 12)


def test_a_training_picture_is_its_window_resized():
    picture = noise(90, 70)
    found = random_resized_crop(picture, 24, np.random.default_rng(3))
    box = random_crop_box(np.random.default_rng(3), 90, 70)
    expected = np.asarray(picture)[box.upper : box.lower, box.left : box.right]
    np.testing.assert_array_equal(found, np.asarray(Image.fromarray(expected).resize((24, 24), 2)))
    assert found.dtype == np.uint8
    assert not np.array_equal(found, random_resized_crop(picture, 24, np.random.default_rng(4)))


def test_the_middle_of_a_picture_of_the_right_size_is_its_pixels():
    picture = noise(300, 256)
    np.testing.assert_array_equal(center_crop(picture, 224), np.asarray(picture)[16:240, 38:262])


@pytest.mark.parametrize(
    ("width", "height"), [(100, 73), (73, 100), (219, 73), (400, 300), (1, 500), (640, 427)]
)
def test_the_short_side_is_cut_to_seven_eighths(width, height):
    # A ramp along the long side tells where the middle is and how it was scaled.
    ramp = np.linspace(0, 255, max(width, height)).round().astype(np.uint8)
    plane = np.broadcast_to(ramp if width >= height else ramp[:, None], (height, width))
    found = center_crop(Image.fromarray(np.stack([plane] * 3, -1)), 64)
    assert found.shape == (64, 64, 3)
    line = (found[32, :, 0] if width >= height else found[:, 32, 0]).astype(float)
    slope = 255 / (73 * max(width, height) / min(width, height))
    np.testing.assert_allclose((line[0] + line[-1]) / 2, 127.5, atol=1 + slope)
    np.testing.assert_allclose(line[-1] - line[0], 63 * slope, atol=2 + slope)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "I;16"])
def test_pictures_of_any_mode_become_rgb(mode):
    picture = noise(20, 10).convert("L").convert(mode) if mode == "I;16" else noise(20, 10).convert(mode)
    found = decode(encode(picture, "tiff" if mode == "CMYK" else "png"), "picture")
    assert found.mode == "RGB"
    assert found.size == (20, 10)


def test_what_cannot_be_read_is_named():
    whole = encode(noise(50, 50), "jpeg")
    for damaged, reason in [
        (b"", "it is empty"),
        (b"<html>not found</html>", "it is no picture"),
        (whole[: len(whole) // 2], "truncated"),
        (encode(noise(50, 50))[:-500], ""),
    ]:
        with pytest.raises(
            DataError, match=rf"cats/1\.jpg cannot be read \(.*{reason}.*\): replace it"
        ) as caught:
            decode(damaged, "cats/1.jpg")
        assert "\n" not in str(caught.value)
