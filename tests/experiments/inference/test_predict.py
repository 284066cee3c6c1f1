import io
import json
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import predict
from experiments.inference.images import ImageError, Shape, find_images, read_image
from experiments.program.errors import ConfigError, ExperimentError
from jax_resnet import checkpoint, data
from jax_resnet.convert import to_torch
from jax_resnet.convert.files import write_state_dict
from jax_resnet.models import create_model

COLOR = Shape((32, 32, 3), (32, 32, 3), center_crop=False)
GRAY = Shape((32, 32, 1), (28, 28, 1), center_crop=False)


@pytest.fixture(scope="module")
def digits(data_dir):
    return data.load("digits", data_dir=data_dir)


@pytest.fixture(scope="module")
def files(digits, tmp_path_factory):
    """Twelve test images as files, in a folder and one below it."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "more").mkdir()
    for i in range(12):
        Image.fromarray(digits.test.images[i]).save(
            folder / ("more" if i > 9 else "") / f"{i:02}.{'bmp' if i % 2 else 'png'}"
        )
    (folder / "notes.txt").write_text("no image, and not read as one")
    return folder


def predicted(capsys, *args):
    predict.main([*map(str, args), "--json"])
    return json.loads(capsys.readouterr().out)


def test_images_of_the_test_set_get_the_probabilities_of_the_runs_predictions(
    finished, files, digits, capsys
):
    found = predicted(capsys, finished, files, "--top", "10", "--batch-size", "5")
    with np.load(finished / "predictions.npz") as arrays:
        logits = arrays["logits_best"][:12].astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert found["network"] == "resnet8"
    assert [image["path"].rsplit("/", 1)[1][:2] for image in found["images"]] == [
        f"{i:02}" for i in range(12)
    ]
    for image, row in zip(found["images"], expected, strict=True):
        by_name = {p["class"]: p["probability"] for p in image["predictions"]}
        np.testing.assert_allclose([by_name[name] for name in digits.class_names], row, rtol=1e-3, atol=1e-6)
        given = [p["probability"] for p in image["predictions"]]
        assert given == sorted(given, reverse=True)


def test_the_size_that_the_run_has_may_be_named(finished, files, capsys):
    size = json.loads((finished / "config.json").read_text())["data"]["image_shape"][0]
    named = predicted(capsys, finished, files, "--image-size", size)
    assert named == predicted(capsys, finished, files)


def test_a_list_on_standard_input_and_a_table(finished, files, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{files / '00.png'}\n\n{files / '01.bmp'}\n"))
    predict.main([str(finished), "-", "--top", "2"])
    lines = [line for line in capsys.readouterr().out.splitlines() if str(files) in line]
    assert len(lines) == 2
    for line in lines:
        path, *rest = line.split()
        assert path.startswith(str(files))
        assert len(rest) == 4
        assert float(rest[1]) >= float(rest[3])


def test_a_image_that_cannot_be_read_is_named_and_others_are_answered(finished, files, tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes((files / "00.png").read_bytes()[:100])
    (tmp_path / "empty.jpg").touch()
    good = files / "02.png"
    with pytest.raises(SystemExit) as stop:
        predict.main([str(path) for path in (finished, tmp_path, good, tmp_path / "none.png", "--json")])
    assert stop.value.code == 1
    output = capsys.readouterr()
    assert [image["path"] for image in json.loads(output.out)["images"]] == [str(good)]
    assert {entry["path"] for entry in json.loads(output.out)["unreadable"]} == {
        str(tmp_path / name) for name in ("broken.png", "empty.jpg", "none.png")
    }
    assert f"error: {tmp_path / 'empty.jpg'}: it is empty\n" in output.err
    assert f"error: {tmp_path / 'none.png'}: not there\n" in output.err
    assert output.err.count("\n") == 3


def test_names_of_any_bytes_are_read_from_a_list_and_bad_ones_listed(finished, files, tmp_path):
    odd = tmp_path / os.fsdecode(b"caf\xe9.png")
    shutil.copy(files / "00.png", odd)
    done = subprocess.run(
        [sys.executable, "-m", "experiments.predict", str(finished), "-", "--json"],
        input=b"\n".join([os.fsencode(odd), b"x" * 300, b""]),
        capture_output=True,
        timeout=120,
        check=False,
    )
    found = json.loads(done.stdout)
    assert [image["path"] for image in found["images"]] == [str(odd)]
    assert [(entry["path"], entry["reason"]) for entry in found["unreadable"]] == [
        ("x" * 300, "file name too long")
    ]
    assert b"Traceback" not in done.stderr


def test_weights_with_nan_are_refused(finished, files, tmp_path):
    model, variables, _ = checkpoint.restore(finished)
    broken = jax.tree.map(lambda x: np.full_like(x, np.nan), variables)
    path = tmp_path / "nan.safetensors"
    write_state_dict(path, to_torch(broken, model, style="akamaster"))
    flags = ["--arch", "resnet8", "--dataset", "digits", "--mean", "0", "0", "0", "--std", "1", "1", "1"]
    with pytest.raises(ExperimentError, match=r"is of a training that diverged: .* holds NaN or infinity"):
        predict.main([str(path), str(files / "00.png"), *flags, "--json"])


def test_weights_in_a_file_predict_as_the_run_they_come_from(finished, files, tmp_path, capsys):
    model, variables, config = checkpoint.restore(finished)
    path = tmp_path / "weights.safetensors"
    write_state_dict(path, to_torch(variables, model, style="akamaster"))
    mean, std = (map(str, config["data"][name]) for name in ("mean", "std"))
    file = files / "03.bmp"
    flags = ["--arch", "resnet8", "--dataset", "digits"]
    [one] = predicted(capsys, path, file, *flags, "--mean", *mean, "--std", *std)["images"]
    [other] = predicted(capsys, finished, file)["images"]
    for left, right in zip(one["predictions"], other["predictions"], strict=True):
        assert left["class"] == right["class"]
        assert left["probability"] == pytest.approx(right["probability"], rel=1e-5)
    with pytest.raises(ConfigError, match="give --mean and --std"):
        predict.main([str(path), str(file), *flags])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "which network"),
        (["nowhere", "cat.png"], "nowhere does not exist"),
        (["RUN"], "which images"),
        (["RUN", "cat.png", "--top", "0"], "--top must be 1 or more, not 0"),
        (["RUN", "cat.png", "--mean", "0.5", "--std", "0.5"], "need 3 numbers"),
    ],
)
def test_bad_input_is_named(finished, args, message):
    with pytest.raises(ConfigError, match=message):
        predict.main([str(finished) if arg == "RUN" else arg for arg in args])


@pytest.fixture
def photo():
    """Red above, blue below, twice as wide as high."""
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:20, :, 0] = 255
    pixels[20:, :, 2] = 255
    return Image.fromarray(pixels)


def is_red_above_blue(image):
    assert image.shape == (32, 32, 3)
    np.testing.assert_array_equal(image[:12], np.broadcast_to([255, 0, 0], (12, 32, 3)))
    np.testing.assert_array_equal(image[20:], np.broadcast_to([0, 0, 255], (12, 32, 3)))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK"])
def test_every_mode_is_read_as_it_looks(photo, mode, tmp_path):
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    photo.convert(mode).save(path)
    is_red_above_blue(read_image(path, COLOR))


def test_exif_turns_the_image_upright(photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    photo.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    is_red_above_blue(read_image(tmp_path / "turned.png", COLOR))


def test_transparent_is_white(tmp_path):
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[:16, :, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "half.png")
    image = read_image(tmp_path / "half.png", COLOR)
    assert not image[:16].any()
    assert (image[16:] == 255).all()


def test_sixteen_bits_are_scaled_not_cut(tmp_path):
    ramp = np.linspace(0, 65535, 32).round().astype(np.uint16)
    Image.fromarray(np.broadcast_to(ramp, (32, 32)).copy()).save(tmp_path / "deep.png")
    image = read_image(tmp_path / "deep.png", COLOR)
    np.testing.assert_allclose(image[0, :, 0], np.linspace(0, 255, 32), atol=0.51)
    np.testing.assert_array_equal(image[..., 0], image[..., 2])


def test_the_middle_is_taken_and_proportions_kept(tmp_path):
    pixels = np.zeros((32, 96), np.uint8)
    pixels[:, 32:64] = np.arange(32, dtype=np.uint8) * 8
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    np.testing.assert_array_equal(read_image(tmp_path / "wide.png", COLOR)[..., 0], pixels[:, 32:64])


def test_a_small_image_is_padded_where_training_padded(tmp_path):
    pixels = np.full((28, 28), 200, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "digit.png")
    image = read_image(tmp_path / "digit.png", GRAY)
    assert image.shape == (32, 32, 1)
    np.testing.assert_array_equal(image[2:30, 2:30, 0], pixels)
    assert image.sum() == pixels.sum()


def test_natural_images_are_cut_as_in_evaluation(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    shape = Shape((56, 56, 3), (56, 56, 3), center_crop=True)  # 64 = 56 * 256 / 224
    np.testing.assert_array_equal(read_image(tmp_path / "photo.png", shape), pixels[4:60, 4:60])


def test_folders_give_images_only(files, tmp_path):
    assert len(list(find_images(files))) == 12
    with pytest.raises(ImageError, match="a folder without images"):
        list(find_images(tmp_path))


def test_weights_with_an_imagenet_stem_see_photographs_at_their_size(tmp_path, capsys, monkeypatch):
    model = create_model("resnet18", stem="imagenet", num_classes=3)
    variables = model.init(jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32), train=False)
    write_state_dict(tmp_path / "w.safetensors", to_torch(variables, model))
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    seen = []
    monkeypatch.setattr(
        "experiments.inference.predict.read_image", lambda p, s: seen.append(s) or read_image(p, s)
    )
    flags = [
        "--arch",
        "resnet18",
        "--stem",
        "imagenet",
        "--mean",
        "0.5",
        "0.5",
        "0.5",
        "--std",
        "1",
        "1",
        "1",
    ]
    predicted(capsys, tmp_path / "w.safetensors", tmp_path / "photo.png", *flags)
    predicted(capsys, tmp_path / "w.safetensors", tmp_path / "photo.png", *flags, "--image-size", "96")
    assert [(shape.input, shape.center_crop) for shape in seen] == [
        ((224, 224, 3), True),
        ((96, 96, 3), True),
    ]
