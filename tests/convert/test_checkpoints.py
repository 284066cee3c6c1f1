"""Files of weights as training programs write them, and files that only look like weights."""

import argparse
import collections
import datetime
import enum
import os
import pathlib
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import safetensors.numpy

from jax_resnet.convert import from_torch, read_state_dict, read_weights, to_torch, write_state_dict
from jax_resnet.convert.template import template
from jax_resnet.errors import WeightsError
from jax_resnet.models import create_model
from tests.helpers import quick

torch = pytest.importorskip("torch", reason="writes PyTorch files, and PyTorch is not installed")

MODEL = create_model("resnet8", widths=(2, 3, 4))
VARIABLES = quick.trained(MODEL, (32, 32, 3))
WEIGHTS = {key: torch.as_tensor(value) for key, value in to_torch(VARIABLES, MODEL, "akamaster").items()}
OTHER = {key: torch.zeros_like(value) for key, value in WEIGHTS.items()}


class Precision(enum.Enum):
    HALF = "half"


class Settings(dict):  # as yacs, mmcv and others keep settings
    pass


class Meter:
    def __init__(self) -> None:
        self.sum = 3.0


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch evil",)


class Sneaky:
    def __reduce__(self) -> Any:
        return exec, ("open('evil', 'w')",)


def prefixed(*prefixes: str) -> dict[str, Any]:
    return {f"{''.join(prefixes)}{key}": value for key, value in WEIGHTS.items()}


def wrapped_inside(wrapper: str) -> dict[str, Any]:
    return {key.replace(".", f".{wrapper}.", 1): value for key, value in WEIGHTS.items()}


CHECKPOINTS: dict[str, Any] = {
    "plain": WEIGHTS,
    "data parallel": prefixed("module."),
    "compiled": prefixed("_orig_mod."),
    "Lightning": {"state_dict": prefixed("model."), "epoch": 3, "hyper_parameters": {"lr": 0.1}},
    "Lightning with a loss": {"state_dict": {**prefixed("net."), "criterion.weight": torch.ones(10)}},
    "compiled Lightning": {"state_dict": prefixed("model.", "_orig_mod.")},
    "everything at once": prefixed("module.", "_orig_mod.", "model.", "net."),
    "another module's": prefixed("student."),
    "FSDP": prefixed("_fsdp_wrapped_module."),
    "FSDP inside": wrapped_inside("_fsdp_wrapped_module"),
    "compiled inside": wrapped_inside("_orig_mod"),
    "activation checkpoints": wrapped_inside("_checkpoint_wrapped_module"),
    "AveragedModel": {"n_averaged": torch.tensor(5), **prefixed("module.")},
    "deep": {"checkpoint": {"trainer": {"model_state": WEIGHTS}}, "epoch": 1},
    "an unknown place": {"resnet": WEIGHTS, "optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}}}},
    "a list": [WEIGHTS, 0.93],
    "model before moments": {"exp_avg": OTHER, "model": WEIGHTS},
    "Namespace": {"model": WEIGHTS, "args": argparse.Namespace(lr=0.1, out=pathlib.Path("runs"))},
    "numbers of numpy": {"net": WEIGHTS, "acc": np.float64(0.9), "history": np.arange(3), "n": np.int64(3)},
    "paths and dates": {
        "state_dict": WEIGHTS,
        "path": pathlib.PurePosixPath("a/b"),
        "when": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
        "took": datetime.timedelta(seconds=3),
        "precision": Precision.HALF,
        "order": collections.OrderedDict(a=1),
        "counts": collections.defaultdict(int, a=1),
        "last": collections.deque([1, 2]),
        "counter": collections.Counter("abc"),
        "space": types.SimpleNamespace(a=1),
        "set": {1, 2},
        "dtype": torch.float32,
        "device": torch.device("cpu"),
        "complex": 3j,
        "bytes": b"abc",
        "meter": Meter(),
    },
    "settings that are a dict": {"model": WEIGHTS, "cfg": Settings(lr=0.1, steps=Settings(a=1))},
    "generators": {"model": WEIGHTS, "rng": np.random.default_rng(0), "state": np.random.get_state()},
    "parameters": {
        key: torch.nn.Parameter(value, value.is_floating_point()) for key, value in WEIGHTS.items()
    },
}


def assert_right(state_dict: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, from_torch(state_dict, MODEL), VARIABLES)


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_checkpoints_of_training_programs_are_read(kind: str, old: bool, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(CHECKPOINTS[kind], path, _use_new_zipfile_serialization=not old)
    assert_right(read_state_dict(path))
    if isinstance(CHECKPOINTS[kind], dict):
        assert_right(CHECKPOINTS[kind])


@pytest.mark.parametrize(
    "suffix", ["pth", "PTH", "pth.tar", "Pt.Tar", "bin", "ckpt", "PT", "th", "SafeTensors"]
)
def test_suffixes_of_weights(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights.{suffix}"
    write_state_dict(path, {key: value.numpy() for key, value in WEIGHTS.items()})
    assert_right(read_state_dict(path))


def test_the_moving_average_is_taken_and_said(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    for average, raw in (("model_ema", "model"), ("state_dict_ema", "state_dict")):
        torch.save({raw: OTHER, average: prefixed("module."), "epoch": 3}, path)
        weights = read_weights(path)
        assert weights.choice == f"took {average!r}; there is also {raw!r}"
        assert_right(weights.state_dict)
        assert not read_state_dict(path, entry=raw)["conv1.weight"].any()
    torch.save({"model": WEIGHTS}, path)
    assert read_weights(path).choice == ""


def test_one_of_several_networks_is_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"generator": OTHER, "judge": WEIGHTS}, path)
    with pytest.raises(WeightsError, match="there are 2 networks, 'generator', 'judge': say which"):
        read_state_dict(path)
    assert_right(read_state_dict(path, entry="judge"))
    with pytest.raises(WeightsError, match=r"no entry 'juge', but 'generator', 'judge'; did you mean judge?"):
        read_state_dict(path, entry="juge")
    torch.save({f"teacher.{k}": v for k, v in OTHER.items()} | prefixed("model."), path)
    assert_right(read_state_dict(path, entry="model"))
    torch.save({f"net.{k}": v for k, v in OTHER.items()} | prefixed("model."), path)
    with pytest.raises(WeightsError, match=r"two networks have .*, under 'net' and 'model'"):
        read_state_dict(path)


@pytest.mark.parametrize("evil", [Evil(), Sneaky()], ids=["os", "exec"])
def test_nothing_in_a_file_is_run(evil: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for old in (False, True):
        torch.save({"model": WEIGHTS, "evil": evil}, "evil.pth", _use_new_zipfile_serialization=not old)
        if isinstance(evil, Evil):
            with pytest.raises(WeightsError, match=r"names posix.system, which no weights need"):
                read_state_dict("evil.pth")
        else:
            assert_right(read_state_dict("evil.pth"))
    assert not Path("evil").exists()


BAD_TENSORS: dict[str, tuple[Callable[[], Any], str]] = {
    "float8": (lambda: torch.ones(2, 3, 3, 3).to(torch.float8_e4m3fn), "is float8_e4m3fn"),
    "complex": (lambda: torch.ones(2, 3, 3, 3) * 1j, "is complex64: weights are float32"),
    "sparse": (lambda: torch.ones(2, 3, 3, 3).to_sparse(), "of layout sparse_coo: save a dense one"),
    "csr": (lambda: torch.ones(2, 3).to_sparse_csr(), "of layout sparse_csr"),
    "meta": (lambda: torch.ones(2, 3, 3, 3, device="meta"), "is a meta tensor"),
    "expanded": (lambda: torch.ones(1, 1, 1, 1).expand(2**20, 2**20, 2**10, 3), "is an expanded tensor"),
    "int8": (lambda: torch.ones(2, 3, 3, 3, dtype=torch.int8), "is int8"),
    "bool": (lambda: torch.ones(2, 3, 3, 3, dtype=torch.bool), "is bool"),
    "a number": (lambda: 3.0, "holds no state_dict: its 'conv1.weight' is a float"),
    "an array": (lambda: np.ones(3), "holds no state_dict: its 'conv1.weight' is a numpy"),
    "nothing": (lambda: None, "is a NoneType"),
}


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("kind", BAD_TENSORS)
def test_tensors_that_are_no_weights_are_named(kind: str, tmp_path: Path) -> None:
    make, message = BAD_TENSORS[kind]
    path = tmp_path / "weights.pth"
    torch.save({**WEIGHTS, "conv1.weight": make()}, path)
    with pytest.raises(WeightsError, match=message) as caught:
        read_state_dict(path)
    assert "conv1.weight" in str(caught.value)
    assert "\n" not in str(caught.value)
    if hasattr(make(), "layout"):
        with pytest.raises(WeightsError, match=message):
            from_torch({**WEIGHTS, "conv1.weight": make()}, MODEL)


@pytest.mark.filterwarnings("ignore")
def test_quantized_tensors_are_named(tmp_path: Path) -> None:
    quantized = torch.quantize_per_tensor(torch.ones(2, 3, 3, 3), 0.1, 0, torch.qint8)
    torch.save({**WEIGHTS, "conv1.weight": quantized}, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=r"conv1.weight is a quantized tensor"):
        read_state_dict(tmp_path / "weights.pth")


def test_arrays_of_numpy_that_are_no_weights() -> None:
    arrays = {key: value.numpy() for key, value in WEIGHTS.items()}
    for bad, message in (
        (np.ones((2, 3, 3, 3), np.complex64), "conv1.weight is complex64"),
        (np.ones(3, np.int32), "is int32"),
        (np.array(["a"]), "is <U1"),
        (object(), "is object"),
    ):
        with pytest.raises(WeightsError, match=message):
            from_torch({**arrays, "conv1.weight": bad}, MODEL)
    with pytest.raises(WeightsError, match="the key 3 is of type int: names of layers are str"):
        from_torch({**arrays, 3: np.ones(3)}, MODEL)


def _archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.ones(3))


def _whole_network(path: Path) -> None:
    torch.save({"model": torch.nn.Linear(2, 2), "epoch": 3}, path)


BAD_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "is an empty file"),
    "folder": (lambda path: path.mkdir(), "is a folder, not a file of weights"),
    "pipe": (os.mkfifo, "is not a regular file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is not a regular file"),
    "pointer": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
        "Git LFS pointer",
    ),
    "page": (lambda path: path.write_text("\n<!DOCTYPE html>"), "is a web page"),
    "text": (lambda path: path.write_text("hello"), "is not a PyTorch file of weights"),
    "zip": (_archive, "a zip archive without PyTorch's data.pkl"),
    "numbered": (lambda path: torch.save({0: torch.ones(3)}, path), "the key 0 is of type int"),
    "a number": (lambda path: torch.save(3, path), "holds a int, not a state_dict"),
    "a tensor": (lambda path: torch.save(torch.ones(3), path), "holds a Tensor, not a state_dict"),
    "no weights": (
        lambda path: torch.save({"args": argparse.Namespace()}, path),
        "'args' is a argparse.Namespace",
    ),
    "nothing": (lambda path: torch.save({}, path), "holds no weights"),
    "a network": (_whole_network, "'model' is a whole torch.nn.modules.linear.Linear: save its state_dict"),
    "only a network": (lambda path: torch.save(torch.nn.ReLU(), path), "holds a whole torch.nn.modules"),
    "newer pickle": (
        lambda path: torch.save(WEIGHTS, path, pickle_protocol=4),
        "written with pickle protocol 4",
    ),
    "bomb": (lambda path: _bomb(path), "is compressed beyond what weights can be"),
}


def _bomb(path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\0" * 2**25)


@pytest.mark.parametrize("kind", BAD_FILES)
def test_files_that_are_no_weights_are_one_line(kind: str, tmp_path: Path) -> None:
    write, message = BAD_FILES[kind]
    path = tmp_path / "weights.pth"
    write(path)
    with pytest.raises(WeightsError, match=message) as caught:
        read_state_dict(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_truncated_files_are_named(suffix: str, tmp_path: Path) -> None:
    whole = tmp_path / f"whole.{suffix}"
    write_state_dict(whole, {key: value.numpy() for key, value in WEIGHTS.items()})
    content = whole.read_bytes()
    path = tmp_path / f"part.{suffix}"
    for length in (1, 7, 8, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(WeightsError, match="part"):
            read_state_dict(path)


def test_safetensors_of_other_dtypes(tmp_path: Path) -> None:
    import safetensors.torch

    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file({key: value.to(torch.bfloat16) for key, value in WEIGHTS.items()}, path)
    assert {array.dtype for array in read_state_dict(path).values()} == {np.dtype("float32")}
    for dtype, message in (
        (torch.float8_e4m3fn, "F8_E4M3"),
        (torch.complex64, "complex64"),
        (torch.int8, "int8"),
    ):
        safetensors.torch.save_file({"conv1.weight": torch.ones(3).to(dtype)}, path)
        with pytest.raises(WeightsError, match=f"conv1.weight is {message}"):
            read_state_dict(path)


def test_a_header_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    header = b'{"a":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4611686018427387904]}}'
    for claimed, rest in ((2**60, b"{}"), (2**63, b"{}"), (len(header), header), (100, b"{}")):
        path.write_bytes(claimed.to_bytes(8, "little") + rest)
        with pytest.raises(WeightsError, match="is not a whole safetensors file"):
            read_state_dict(path)
    header = b'{"a":{"dtype":"F32","shape":[0,2147483648,2147483648],"data_offsets":[0,0]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(WeightsError, match="a has the impossible shape"):
        read_state_dict(path)
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(WeightsError, match="more than any weights of these networks"):
        read_state_dict(path)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_failed_write_leaves_the_old_file(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"old")

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device", "draft")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_state_dict(path, {"a": np.ones(3, np.float32)})
    assert caught.value.filename == str(path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"old"


def test_projections_ask_for_the_shortcut() -> None:
    """The CIFAR ResNets of chenyaofo/pytorch-cifar-models have torchvision's names and shortcut B."""
    b = create_model("resnet8", widths=(2, 3, 4), shortcut="B")
    variables = quick.trained(b, (32, 32, 3))
    weights = to_torch(variables, b, "torchvision")
    assert "layer2.0.downsample.0.weight" in weights
    jax.tree.map(np.testing.assert_array_equal, from_torch(weights, b), variables)
    with pytest.raises(WeightsError, match=r'have projections .* create_model\(..., shortcut="B"\)'):
        from_torch(weights, MODEL)
    with pytest.raises(WeightsError, match=r'no projections in their shortcuts: .*shortcut="A"'):
        from_torch(WEIGHTS, b)


def test_the_stem_of_other_images_is_named() -> None:
    large = create_model("resnet18", stem="imagenet", stage_sizes=(1,), widths=(2,))
    weights = to_torch(quick.trained(large, (32, 32, 3)), large)
    with pytest.raises(WeightsError, match=r'for large images: .*stem="imagenet"'):
        from_torch(weights, create_model("resnet18", stage_sizes=(1,), widths=(2,)))


def test_another_class_count_asks_for_a_fresh_head() -> None:
    seven = MODEL.clone(num_classes=7)
    with pytest.raises(WeightsError, match=r"the weights have 10 classes: .*num_classes=10.*fresh_head=True"):
        from_torch(WEIGHTS, seven)
    fresh = from_torch(WEIGHTS, seven, fresh_head=True)
    shapes = {"/".join(path): shape for path, shape in template(seven).items()}
    kernel = fresh["params"]["head"].pop("kernel")
    assert kernel.shape == shapes["params/head/kernel"]
    assert 0.3 < np.abs(kernel).max() <= 0.5  # 1 / sqrt(4)
    assert not fresh["params"].pop("head")["bias"].any()
    rest = {"params": {k: v for k, v in VARIABLES["params"].items() if k != "head"}}
    jax.tree.map(np.testing.assert_array_equal, fresh, {**VARIABLES, **rest})
    again, other = (
        from_torch(WEIGHTS, seven, fresh_head=True, key=key)["params"]["head"]["kernel"]
        for key in (None, jax.random.key(1))
    )
    np.testing.assert_array_equal(again, kernel)
    assert not np.array_equal(other, kernel)
    headless = {key: value for key, value in WEIGHTS.items() if not key.startswith("linear")}
    with pytest.raises(WeightsError, match="fresh_head=True makes a new head"):
        from_torch(headless, MODEL)
    from_torch(headless, MODEL, fresh_head=True)
    with pytest.raises(WeightsError, match="num_classes above 0"):
        from_torch(WEIGHTS, MODEL.clone(num_classes=0), fresh_head=True)


def test_safetensors_files_keep_the_shapes_of_scalars(tmp_path: Path) -> None:
    state_dict = to_torch(VARIABLES, MODEL)
    write_state_dict(tmp_path / "weights.safetensors", state_dict)
    found = safetensors.numpy.load_file(tmp_path / "weights.safetensors")
    shapes = {key: value.shape for key, value in found.items()}
    assert shapes == {key: value.shape for key, value in state_dict.items()}
    assert shapes["bn1.num_batches_tracked"] == ()


def test_weights_for_color_are_adapted_to_gray_images() -> None:
    with pytest.raises(WeightsError, match=r"images of 3 channels: from_torch\(..., in_channels=1\)"):
        from_torch(WEIGHTS, MODEL, image_shape=(32, 32, 1))
    kernel = VARIABLES["params"]["stem_conv"]["kernel"]
    gray = from_torch(WEIGHTS, MODEL, in_channels=1, image_shape=(32, 32, 1))
    np.testing.assert_allclose(gray["params"]["stem_conv"]["kernel"][:, :, 0], kernel.sum(2), rtol=1e-6)
    five = from_torch(WEIGHTS, MODEL, in_channels=5)["params"]["stem_conv"]["kernel"]
    np.testing.assert_allclose(five, kernel[:, :, [0, 1, 2, 0, 1]] * 0.6, rtol=1e-6)
    with pytest.raises(WeightsError, match="in_channels must be at least 1, not 0"):
        from_torch(WEIGHTS, MODEL, in_channels=0)


def test_blocks_in_loops_convert_both_ways() -> None:
    options = {"widths": (2, 3, 4), "stage_sizes": (3, 2, 1)}
    plain = create_model("resnet20", **options)
    looped = create_model("resnet20", **options, scan_layers=True)
    weights = to_torch(quick.trained(plain, (32, 32, 3)), plain)
    variables = from_torch(weights, looped)
    assert {"/".join(p): s for p, s in template(looped).items()} == {
        "/".join(str(part.key) for part in path): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    }
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(variables))
    back = to_torch(variables, looped)
    assert back.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(back[name], array)
