"""Files of weights, and the command that converts between them."""

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy

from jax_resnet import checkpoint
from jax_resnet.convert import from_torch, read_state_dict, to_torch, write_state_dict
from jax_resnet.convert.__main__ import main
from jax_resnet.models import create_model


@pytest.fixture
def state_dict() -> dict[str, np.ndarray]:
    model = create_model("resnet14", num_classes=7)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), np.zeros((1, 32, 32, 3)), train=False))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: rng.standard_normal(x.shape).astype(np.float32), shapes)
    return to_torch(variables, model, "akamaster")


@pytest.fixture
def weights(state_dict: dict[str, np.ndarray], tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    write_state_dict(path, state_dict)
    return path


def test_safetensors_round_trip(state_dict: dict[str, np.ndarray], weights: Path) -> None:
    found = read_state_dict(weights)
    assert found.keys() == {key for key in state_dict if "num_batches" not in key}
    for key, value in found.items():
        np.testing.assert_array_equal(value, state_dict[key])
    assert [path.name for path in weights.parent.iterdir()] == ["weights.safetensors"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"junk\.safetensors is not a whole safetensors file"):
        read_state_dict(junk)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_state_dict(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match=r"does not end in one of \.safetensors, \.pth, \.pt, \.th, \.bin"):
        read_state_dict(tmp_path / "weights.npz")


def test_pytorch_files_without_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "a.pth").write_bytes(b"x")
    with pytest.raises(ImportError, match=r"pip install -e '\.\[torch\]', or use a .safetensors file"):
        read_state_dict(tmp_path / "a.pth")


def test_pytorch_files(state_dict: dict[str, np.ndarray], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="reads PyTorch files, and PyTorch is not installed")
    for suffix in ("pth", "pt", "th"):
        path = tmp_path / f"a.{suffix}"
        write_state_dict(path, state_dict)
        for key, value in read_state_dict(path).items():
            np.testing.assert_array_equal(value, state_dict[key])
    tensors = {f"module.{key}": torch.from_numpy(value) for key, value in state_dict.items()}
    checkpoint = {"state_dict": tensors, "best_prec1": 91.7, "epoch": 3}
    for zipped in (False, True):  # files from before PyTorch 1.6 are not
        torch.save(checkpoint, path, _use_new_zipfile_serialization=zipped)
        from_torch(read_state_dict(path), create_model("resnet14", num_classes=7))
    # Anything but weights would have to be unpickled, which can run any code.
    torch.save({"model": torch.nn.Linear(2, 2)}, path)
    with pytest.raises(ValueError, match="is not a PyTorch file of weights alone"):
        read_state_dict(path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(ValueError, match="holds no state_dict: its 'epoch' is a int"):
        read_state_dict(path)
    path.write_bytes(b"junk")
    with pytest.raises(ValueError, match="is not a PyTorch file"):
        read_state_dict(path)


def test_command_there_and_back(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, back = tmp_path / "made" / "checkpoint", tmp_path / "back.safetensors"
    assert main([str(weights), str(folder), "--arch", "resnet14"]) == 0
    restored = checkpoint.restore(folder)
    assert restored.config["model"] == {"name": "resnet14", "stem": "cifar", "num_classes": 7}
    assert restored.model.num_classes == 7
    assert main([str(folder), str(back), "--style", "pytorch-cifar"]) == 0
    assert main([str(weights), str(folder), "--arch", "resnet14", "--overwrite"]) == 0
    assert capsys.readouterr().err == ""
    expected = safetensors.numpy.load_file(weights)
    found = safetensors.numpy.load_file(back)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value)
    assert main([str(folder), str(back), "--overwrite"]) == 0
    assert "fc.weight" in safetensors.numpy.load_file(back)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "back.safetensors",
        "made",
        "weights.safetensors",
    ]


def test_a_header_whose_length_looks_like_a_web_page_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.numpy.save_file({"x": np.ones(2, np.float32)}, path)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    padded = int.from_bytes(b" <\0\0\0\0\0\0", "little")
    header = content[8 : 8 + length] + b" " * (padded - length)
    path.write_bytes(padded.to_bytes(8, "little") + header + content[8 + length :])
    np.testing.assert_array_equal(read_state_dict(path)["x"], [1, 1])


def test_command_options(tmp_path: Path) -> None:
    model = create_model("resnet14", shortcut="B", widths=(8, 16, 32))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), np.zeros((1, 8, 8, 3)), train=False))
    variables = jax.tree.map(lambda x: np.ones(x.shape, np.float32), shapes)
    write_state_dict(tmp_path / "a.safetensors", to_torch(variables, model))
    command = [str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors"), "--arch", "resnet14"]
    assert main(command) == 1
    assert main([*command, "--option", 'shortcut="B"', "widths=[8,16,32]"]) == 0


@pytest.mark.parametrize(
    ("command", "status", "message"),
    [
        ("W out.safetensors", 2, "does not say which network it is for: give --arch"),
        ("W out.safetensors --arch resnet15", 2, "did you mean resnet14 or resnet20?"),
        ("W W --arch resnet14", 2, "exists already: give --overwrite to replace it"),
        ("W W --arch resnet14 --overwrite", 2, "IN and OUT are the same"),
        ("W out.npz --arch resnet14", 2, "'out.npz' does not end in one of"),
        ("none.pth out.safetensors --arch resnet14", 2, "there is no none.pth"),
        ("W gs://bucket/out --arch resnet14", 2, "is a URL: name a folder of this machine"),
        ("W out.safetensors --arch resnet14 --style x", 2, "style is one of"),
        (
            "W out.safetensors --arch resnet14 --option shortcut=B",
            2,
            "--option takes NAME=VALUE with a JSON value",
        ),
        ("W out.safetensors --arch resnet14 --option depth=3", 2, "resnet14 has no option 'depth'"),
        ("W out.safetensors --arch resnet20", 1, "the weights do not fit ResNet"),
        ("W out.safetensors --arch resnet14 --num-classes 10", 1, "linear.weight is (7, 64), not (10, 64)"),
        (". out.safetensors", 1, "holds no checkpoint"),
        (". out.safetensors --arch resnet14", 2, "--arch is for files of weights: a checkpoint knows"),
        (". out.safetensors --num-classes 7", 2, "--num-classes is for files of weights"),
        (". out.safetensors --option depth=3", 2, "--option is for files of weights"),
    ],
)
def test_command_tells_what_is_wrong(
    command: str,
    status: int,
    message: str,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(weights.parent)
    before = weights.read_bytes()
    assert main([str(weights.name) if word == "W" else word for word in command.split()]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert weights.read_bytes() == before
    assert [path.name for path in weights.parent.iterdir()] == [weights.name]


def test_command_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jax_resnet.convert", "a.safetensors"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "OUT" in done.stderr
    assert "Traceback" not in done.stderr
