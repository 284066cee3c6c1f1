"""Every mode and kind of file gives the pixels that the table in ``decode_image`` says."""

import io
import pickle
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageCms

from jax_resnet.data.images import ImageError, decode_image, to_rgb

WHITE = (255, 255, 255)
RAMP = np.array([[0, 1000, 30000, 65535]])
RAMP8 = (0, 4, 117, 255)  # 1000 / 257 = 3.9, 30000 / 257 = 116.7
COLORS = np.array([[(100, 50, 0, 0), (100, 50, 0, 255), (0, 0, 0, 128), (255, 0, 0, 128)]], np.uint8)
ON_WHITE = (WHITE, (100, 50, 0), (127, 127, 127), (255, 127, 127))


def encode(image, form="png", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def row(encoded, **options):
    """The decoded pixels of an image of one row: numbers where it is gray, else colors."""
    pixels = np.asarray(decode_image(encoded, "image", **options))
    pixels = pixels.reshape(-1, pixels.shape[-1]) if pixels.ndim == 3 else pixels.reshape(-1)
    if pixels.ndim == 2 and (pixels == pixels[:, :1]).all():
        pixels = pixels[:, 0]
    return tuple(map(tuple, pixels.tolist())) if pixels.ndim == 2 else tuple(pixels.tolist())


def png(width, height, depth, color_type, rows, *chunks):
    """A PNG of raw rows, for what Pillow does not write."""

    def chunk(kind, content):
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def palette():
    image = Image.new("P", (4, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    image.putdata([0, 1, 2, 3])
    return image


PALETTE = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9))


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        (png(8, 1, 1, 0, b"\0\x0f"), (0, 0, 0, 0, 255, 255, 255, 255)),
        (encode(Image.fromarray(np.array([[0, 7, 255]], np.uint8))), (0, 7, 255)),
        (encode(Image.fromarray(COLORS[..., :3])), tuple(map(tuple, COLORS[0, :, :3].tolist()))),
        (encode(palette()), PALETTE),
        (encode(palette(), "gif"), PALETTE),
    ],
    ids=["1", "L", "RGB", "P", "P gif"],
)
def test_opaque_images_of_eight_bits_keep_their_pixels(encoded, expected):
    assert row(encoded) == expected


@pytest.mark.parametrize("form", ["png", "tiff", "webp"])
def test_alpha_is_composited_on_white(form):
    options = {"lossless": True, "exact": True} if form == "webp" else {}
    assert row(encode(Image.fromarray(COLORS), form, **options)) == ON_WHITE


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        (
            encode(Image.fromarray(np.array([[[100, 0], [100, 255], [0, 128], [255, 128]]], np.uint8), "LA")),
            (255, 100, 127, 255),
        ),
        (encode(palette(), transparency=1), (PALETTE[0], WHITE, *PALETTE[2:])),
        (encode(palette(), transparency=bytes([0, 128])), (WHITE, (127, 255, 127), *PALETTE[2:])),
        (encode(palette(), "gif", transparency=2), (*PALETTE[:2], WHITE, PALETTE[3])),
        (encode(Image.fromarray(np.array([[0, 7]], np.uint8)), transparency=7), (0, 255)),
        (encode(Image.fromarray(COLORS[:, :2, :3]), transparency=(100, 50, 0)), (255, 255)),
        (encode(Image.fromarray(RAMP.astype(np.uint16)), transparency=1000), (0, 255, 117, 255)),
        (png(8, 1, 1, 0, b"\0\x0f", (b"tRNS", b"\0\0")), (255,) * 8),
        (
            png(
                2,
                1,
                16,
                2,
                b"\0" + np.array([60000, 99, 200, 60000, 700, 200], ">u2").tobytes(),
                (b"tRNS", struct.pack(">HHH", 60000, 99, 200)),
            ),
            (WHITE, (234, 2, 0)),
        ),
    ],
    ids=["LA", "P one", "P alphas", "P gif", "L", "RGB", "I;16", "1", "RGB of 16 bits"],
)
def test_other_transparency_is_white_too(encoded, expected):
    assert row(encoded) == expected


@pytest.mark.parametrize("mode", ["La", "RGBa", "PA", "RGBX", "HSV", "I;16N"])
def test_modes_that_files_rarely_have_look_the_same(mode):
    source, expected = {
        "La": (Image.fromarray(COLORS).convert("LA").convert("La"), [(c,) * 3 for c in (255, 59, 127, 165)]),
        "RGBa": (Image.fromarray(COLORS).convert("RGBa"), ON_WHITE),
        "PA": (palette().convert("PA"), PALETTE),
        "RGBX": (Image.new("RGBX", (1, 1), (200, 30, 60, 7)), [(200, 30, 60)]),
        "HSV": (Image.new("HSV", (1, 1), (0, 255, 200)), [(200, 0, 0)]),
        "I;16N": (Image.frombytes("I;16N", (1, 1), np.uint16(30000).tobytes()), [(117, 117, 117)]),
    }[mode]
    assert source.mode == mode
    np.testing.assert_array_equal(np.asarray(to_rgb(source))[0], expected)


@pytest.mark.parametrize(
    ("mode", "form", "tolerance"),
    [
        ("CMYK", "tiff", 0),
        ("CMYK", "jpeg", 1),
        ("YCbCr", "tiff", 2),
        ("YCbCr", "jpeg", 2),
        ("LAB", "tiff", 2),
    ],
)
def test_other_color_spaces_become_rgb(mode, form, tolerance):
    color = (200, 30, 60)
    image = Image.new("RGB", (8, 8), color)
    if mode == "LAB":
        spaces = map(ImageCms.createProfile, ("sRGB", "LAB"))
        image = ImageCms.profileToProfile(image, *spaces, outputMode="LAB")
    else:
        image = image.convert(mode)
    options = {"quality": 100} if form == "jpeg" else {}
    found = row(encode(image, form, **options))
    assert np.abs(np.subtract(found, color)).max() <= tolerance


def test_a_cmyk_jpeg_of_adobe_is_not_inverted():
    encoded = encode(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "jpeg")
    assert b"Adobe" in encoded
    assert set(row(encoded)) == {255}


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bits_are_scaled_to_eight(order):
    pixels = RAMP.astype(f"{order}u2")
    mode = "I;16B" if order == ">" else "I;16"
    assert row(encode(Image.frombytes(mode, (4, 1), pixels.tobytes()), "tiff")) == RAMP8
    assert row(encode(Image.fromarray(RAMP.astype(np.uint16)))) == RAMP8
    assert row(b"P5 4 1 65535\n" + RAMP.astype(">u2").tobytes()) == RAMP8
    assert row(encode(Image.fromarray(RAMP.astype(np.uint16)), "jpeg2000")) == RAMP8


def test_sixteen_bits_keep_every_level():
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    found = np.asarray(decode_image(encode(Image.fromarray(ramp)), "ramp"))
    np.testing.assert_array_equal(found[..., 0], np.round(ramp / 257))
    assert len(np.unique(found)) == 256


def test_a_dark_pgm_of_sixteen_bits_stays_dark():
    assert row(b"P5 2 1 65535\n" + np.array([0, 255], ">u2").tobytes()) == (0, 1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 1, 200, 255], np.int32), (0, 1, 200, 255)),
        (RAMP[0].astype(np.int32), RAMP8),
        (np.array([0, 0.25, 0.5, 1], np.float32), (0, 64, 128, 255)),
        (np.array([-1e-4, 0.2, 1.0001], np.float32), (0, 51, 255)),
        (np.array([0, 1, 200.4, 255.3], np.float32), (0, 1, 200, 255)),
        (RAMP[0].astype(np.float32), RAMP8),
        (np.zeros(2, np.float32), (0, 0)),
    ],
)
def test_integers_and_floats_are_scaled_by_their_range(values, expected):
    assert row(encode(Image.fromarray(values[None]), "tiff")) == expected


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.array([-1, 200], np.int32), "from -1 to 200"),
        (np.array([0, 70000], np.int32), "from 0 to 70000"),
        (np.array([-0.5, 0.5], np.float32), "from -0.5 to 0.5"),
        (np.array([0, np.nan], np.float32), "nan"),
        (np.array([0, np.inf], np.float32), "from 0 to inf"),
        (np.array([0, 1e9], np.float32), "from 0 to 1e\\+09"),
    ],
)
def test_values_of_unknown_range_are_refused(values, reason):
    with pytest.raises(ImageError, match=f"image cannot be read.*its values are .*{reason}.*is needed"):
        row(encode(Image.fromarray(values[None]), "tiff"))


@pytest.mark.parametrize("form", ["jpeg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(form, orientation):
    # Red, green / blue, white, as it should look.
    looks = np.zeros((32, 48, 3), np.uint8)
    looks[:16, :24, 0] = looks[:16, 24:, 1] = looks[16:, :24, 2] = 255
    looks[16:, 24:] = 255
    stored = {
        1: looks,
        2: looks[:, ::-1],
        3: looks[::-1, ::-1],
        4: looks[::-1],
        5: looks.swapaxes(0, 1),
        6: np.rot90(looks),
        7: np.rot90(looks.swapaxes(0, 1), 2),
        8: np.rot90(looks, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = np.asarray(decode_image(encode(Image.fromarray(stored), form, exif=exif), "turned"), int)
    assert found.shape == looks.shape
    centers = np.s_[4:32:16, 6:48:24]
    np.testing.assert_allclose(found[centers], looks[centers], atol=8)


def test_damaged_exif_does_not_matter():
    encoded = encode(Image.new("RGB", (8, 8), (9, 9, 9)), exif=b"Exif\0\0MM\0*\0\0\xff\xff" + b"\1" * 20)
    assert set(row(encoded)) == {9}


@pytest.mark.parametrize("form", ["gif", "png", "webp", "tiff"])
def test_an_animation_gives_its_first_frame(form):
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "lime", "blue")]
    options = {"lossless": True} if form == "webp" else {}
    found = row(encode(frames[0], form, save_all=True, append_images=frames[1:], **options))
    assert set(found) == {(255, 0, 0)}


def test_one_channel_is_luma():
    image = Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [40, 40, 40]]], np.uint8))
    assert row(encode(image), channels=1) == (76, 150, 29, 40)
    assert row(encode(Image.fromarray(RAMP.astype(np.uint16))), channels=1) == RAMP8
    assert row(encode(Image.fromarray(np.zeros((1, 1, 4), np.uint8))), channels=1) == (255,)


def noise(form):
    return encode(
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)), form
    )


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        (b"", "it is empty"),
        (b"<html>not found</html>", "it is not an image"),
        (b"\xff\xd8\xff", "it is not an image"),
        (noise("jpeg")[: len(noise("jpeg")) // 2], "truncated"),
        (noise("png")[:-500], "truncated"),
        (noise("webp")[:-500], ""),
        (noise("tiff")[:-500], ""),
        (noise("png")[:1000] + b"????" + noise("png")[1004:], ""),
        (png(0, 1, 8, 2, b"\0"), ""),
        (png(1, 0, 8, 2, b""), ""),
        (png(60000, 60000, 8, 0, b"\0"), "decompression bomb"),
        (png(20000, 5000, 8, 0, b"\0"), ""),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "it is not an image"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(encoded, reason):
    with pytest.raises(ImageError, match=r"cats/1\.jpg cannot be read \(.+\): replace it") as caught:
        decode_image(encoded, "cats/1.jpg")
    assert caught.value.name == "cats/1.jpg"
    assert reason in caught.value.reason
    assert "\n" not in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.reason) == (str(caught.value), caught.value.reason)


def test_the_contents_decide_the_format_not_the_name():
    assert row(encode(Image.new("RGB", (1, 1), (3, 4, 5)), "bmp")) == ((3, 4, 5),)


def test_pillows_warnings_are_not_shown_and_other_threads_keep_their_filters():
    encoded = png(12000, 8000, 1, 0, (b"\0" + b"\xff" * 1500) * 8000)  # large enough for a warning
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: decode_image(encoded, "large", channels=1).size, range(4)))
        assert warnings.filters == before
        assert not caught
