import numpy as np
import pytest
from PIL import Image

from jax_resnet.data.streaming.transforms import center_crop, random_crop_box, random_resized_crop


def noise(width, height):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (64, 64)])
def test_random_crops_lie_inside_and_have_the_areas_and_aspect_ratios_they_should(size):
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
    # A crop that fits every image may have any aspect ratio, evenly on a logarithmic scale, and lie anywhere.
    small = area < 0.4
    np.testing.assert_allclose(np.log(ratio[small]).mean(), 0, atol=0.03)
    np.testing.assert_allclose(((left + right) / 2 / width).mean(), 0.5, atol=0.02)
    np.testing.assert_allclose(area[small].mean(), (0.08 + 0.4) / 2, atol=0.02)


def test_where_no_crop_fits_it_is_the_center():
    rng = np.random.default_rng(0)
    assert random_crop_box(rng, 12, 1000) == (0, 492, 12, 508)
    assert random_crop_box(rng, 1000, 12) == (492, 0, 508, 12)


def test_a_training_image_is_its_crop_resized():
    image = noise(90, 70)
    found = random_resized_crop(image, 24, np.random.default_rng(3))
    box = random_crop_box(np.random.default_rng(3), 90, 70)
    expected = np.asarray(image)[box.upper : box.lower, box.left : box.right]
    np.testing.assert_array_equal(found, np.asarray(Image.fromarray(expected).resize((24, 24), 2)))
    assert found.dtype == np.uint8
    assert not np.array_equal(found, random_resized_crop(image, 24, np.random.default_rng(4)))


def test_the_center_of_an_image_of_the_right_size_is_its_pixels():
    image = noise(300, 256)
    np.testing.assert_array_equal(center_crop(image, 224), np.asarray(image)[16:240, 38:262])


@pytest.mark.parametrize(
    ("width", "height"), [(100, 73), (73, 100), (219, 73), (400, 300), (1, 500), (640, 427)]
)
def test_the_center_is_seven_eighths_of_the_short_side(width, height):
    # A ramp along the long side shows where the center is and how it was scaled.
    ramp = np.linspace(0, 255, max(width, height)).round().astype(np.uint8)
    plane = np.broadcast_to(ramp if width >= height else ramp[:, None], (height, width))
    found = center_crop(Image.fromarray(np.stack([plane] * 3, -1)), 64)
    assert found.shape == (64, 64, 3)
    line = (found[32, :, 0] if width >= height else found[:, 32, 0]).astype(float)
    slope = 255 / (73 * max(width, height) / min(width, height))
    np.testing.assert_allclose((line[0] + line[-1]) / 2, 127.5, atol=1 + slope)
    np.testing.assert_allclose(line[-1] - line[0], 63 * slope, atol=2 + slope)


@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1), (3, 9_000)])
def test_of_a_thin_image_the_middle_is_resized(size, monkeypatch):
    resized, resize = [], Image.Image.resize

    def watched(image, size, *more):
        resized.append(size)
        return resize(image, size, *more)

    monkeypatch.setattr(Image.Image, "resize", watched)
    pixels = center_crop(Image.new("RGB", size, (10, 20, 30)), 224)
    assert pixels.shape == (224, 224, 3)
    assert (pixels == (10, 20, 30)).all()
    assert max(max(size) for size in resized) <= 64 * 256 + 64
