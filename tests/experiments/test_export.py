"""The command that exports a trained network."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from experiments.export import main
from experiments.program.errors import ConfigError, ExperimentError
from jax_resnet import checkpoint
from jax_resnet.convert import from_torch, read_state_dict, to_torch, write_state_dict
from jax_resnet.data.augment import normalize
from jax_resnet.models import create_model
from tests.helpers import quick

OPTIONS: dict[str, Any] = {"widths": [4, 6, 8]}
MODEL = create_model("resnet8", **OPTIONS)
VARIABLES = quick.trained(MODEL, (32, 32, 3))
DATA = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.2, 0.3], "image_shape": [32, 32, 3]}
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An exported checkpoint. Not to be written to."""
    folder = tmp_path_factory.mktemp("trained") / "checkpoint"
    checkpoint.save(folder, VARIABLES, {"model": {"name": "resnet8", **OPTIONS}, "data": DATA})
    return str(folder)


@pytest.fixture(scope="module")
def logits() -> np.ndarray:
    images = normalize(IMAGES, DATA["mean"], DATA["std"])
    return np.asarray(quick.jit(lambda v, x: MODEL.apply(v, x, train=False))(VARIABLES, images))


def assert_close(found: Any, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_stablehlo(
    trained: str, logits: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("flatbuffers", reason="jax.export serializes with it, and it is not installed")
    out = tmp_path / "new" / "a.stablehlo"
    main([trained, "--format", "stablehlo", "--out", str(out)])
    assert_close(jax.export.deserialize(bytearray(out.read_bytes())).call(IMAGES), logits)
    said = capsys.readouterr().out
    assert f"wrote {out}" in said
    assert "uint8 images (N, 32x32x3) to float32 logits (N, 10)" in said
    assert [file.name for file in out.parent.iterdir()] == ["a.stablehlo"]


def test_onnx_folded(trained: str, logits: np.ndarray, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="runs ONNX, and onnxruntime is not installed")
    main([trained, "--format", "onnx", "--fold", "--out", str(tmp_path / "a.onnx")])
    session = runtime.InferenceSession(tmp_path / "a.onnx")
    assert_close(session.run(None, {"images": IMAGES})[0], logits)


@pytest.mark.parametrize(("kind", "name"), [("safetensors", "a.safetensors"), ("torch", "a.pth")])
def test_state_dicts(kind: str, name: str, trained: str, tmp_path: Path) -> None:
    if kind == "torch":
        pytest.importorskip("torch", reason="writes PyTorch files, and PyTorch is not installed")
    main([trained, "--format", kind, "--out", str(tmp_path / name)])
    found = read_state_dict(tmp_path / name)
    assert {"conv1.weight", "layer2.0.conv1.weight", "fc.weight"} <= set(found)
    jax.tree.map(np.testing.assert_array_equal, from_torch(found, MODEL), VARIABLES)


@pytest.mark.parametrize("fold", [False, True])
def test_orbax(fold: bool, trained: str, logits: np.ndarray, tmp_path: Path) -> None:
    out = tmp_path / "checkpoint"
    main([trained, "--format", "orbax", "--out", str(out), *(["--fold"] if fold else [])])
    model, variables, config = checkpoint.restore(out)[:3]
    assert getattr(model, "folded") == fold  # noqa: B009
    assert config["data"] == DATA
    images = normalize(IMAGES, DATA["mean"], DATA["std"])
    assert_close(quick.jit(lambda v, x: model.apply(v, x, train=False))(variables, images), logits)


def test_a_file_of_weights(tmp_path: Path) -> None:
    pytest.importorskip("flatbuffers", reason="jax.export serializes with it, and it is not installed")
    model = create_model("resnet8", shortcut="B", num_classes=7)
    variables = quick.trained(model, (32, 32, 3))
    source, out = tmp_path / "a.safetensors", tmp_path / "a.stablehlo"
    write_state_dict(source, to_torch(variables, model))
    flags = ["--arch", "resnet8", "--shortcut", "B", "--format", "stablehlo", "--image-shape", "8", "8", "3"]
    main([str(source), *flags, "--out", str(out)])
    images = np.random.default_rng(0).standard_normal((2, 8, 8, 3)).astype(np.float32)
    expected = quick.jit(lambda v, x: model.apply(v, x, train=False))(variables, images)
    assert_close(jax.export.deserialize(bytearray(out.read_bytes())).call(images), np.asarray(expected))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "which network"),
        ("none --format onnx --out a", "none does not exist"),
        ("SOURCE --out a", "--format is needed"),
        ("SOURCE --format onnx", "--out PATH is needed"),
        ("SOURCE --format onnx --out .", "exists already"),
        ("SOURCE --format torch --out a.onnx", r"must end in \.pth or"),
        ("SOURCE --format safetensors --out a", r"must end in \.safetensors"),
        ("SOURCE --format onnx --out a --mean 0.5", "--mean and --std"),
        ("SOURCE --format onnx --out a --image-shape 32", "--image-shape is height, width and channels"),
        ("SOURCE --format onnx --out a --image-shape 32 32 0", "--image-shape must be 1 or more"),
        ("SOURCE --format torch --out a.pth --image-shape 64 64 3", "--image-shape is for stablehlo"),
        ("SOURCE --format orbax --out a --mean 0 0 0 --std 1 1 1", "--mean is for stablehlo and onnx"),
        ("SOURCE --format onnx --out a --style timm", "--style is for safetensors and torch, not for onnx"),
        ("SOURCE --format torch --out a.pth --style keras", "--style: style is one of"),
        ("a.safetensors --format onnx --out a", "--arch NAME is needed"),
        ("a.safetensors --arch resnet9 --format onnx --out a", "--arch resnet9: .*did you mean resnet8"),
        ("a.safetensors --arch resnet8 --format onnx --out a", "not a whole safetensors file"),
        ("SOURCE --format pickle --out a", "pickle"),
    ],
)
def test_wrong_settings_are_named(
    flags: str, message: str, trained: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.safetensors").write_bytes(b"junk")
    with pytest.raises(ConfigError, match=message):
        main([trained if word == "SOURCE" else word for word in flags.split()])
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_images_that_the_network_cannot_take(trained: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="writes ONNX, and onnx is not installed")
    for flags in (["--image-shape", "8", "8", "1"], ["--mean", "0.5", "--std", "0.5"]):
        with pytest.raises(ExperimentError, match="onnx: "):
            main([trained, "--format", "onnx", "--out", str(tmp_path / "a"), *flags])
    assert not list(tmp_path.iterdir())


def test_the_program_ends_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "experiments.export", "none", "--format", "onnx", "--out", "a"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: none does not exist")
    assert done.stderr.count("\n") == 1
