"""Exported networks give the network's logits, in processes that have only what each format needs."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_resnet.data.augment import normalize
from jax_resnet.errors import ExportError
from jax_resnet.export import to_onnx, to_stablehlo
from jax_resnet.models import create_model, fold_batch_norm, stack_blocks
from tests.helpers import quick

SMALL: dict[str, Any] = {"stage_sizes": (2, 1), "widths": (8, 16)}
CASES: dict[str, tuple[str, dict[str, Any], tuple[int, int, int]]] = {
    "basic": ("resnet20", SMALL, (32, 32, 3)),
    "odd sizes": ("resnet20", SMALL, (17, 23, 3)),
    "projections": ("resnet20", {**SMALL, "shortcut": "B"}, (32, 32, 3)),
    "large images": ("resnet18", {**SMALL, "stem": "imagenet"}, (65, 65, 3)),
    "bottleneck and shortcut D": (
        "resnet50",
        {**SMALL, "stem": "imagenet_d", "shortcut": "D"},
        (67, 65, 3),
    ),
    "before activation": ("preact_resnet18", SMALL, (32, 32, 3)),
    "grouped": ("resnext29_8x64d", {**SMALL, "base_width": 16}, (32, 32, 3)),
    "squeeze and excitation": ("seresnet18", {**SMALL, "widths": (16, 32)}, (32, 32, 3)),
    "loops": ("resnet20", {**SMALL, "stage_sizes": (3, 2), "scan_layers": True}, (32, 32, 3)),
    "bfloat16": ("resnet20", {**SMALL, "dtype": jnp.bfloat16}, (32, 32, 3)),
    "no head": ("resnet20", {**SMALL, "num_classes": 0}, (32, 32, 3)),
    "vgg": ("vgg11", {"stage_sizes": (1, 1, 1), "widths": (8, 8, 16)}, (32, 32, 3)),
    "gelu": ("resnet20", {**SMALL, "act": "gelu"}, (32, 32, 3)),
    "whitened": ("airbench94", {"widths": (16, 16, 32)}, (32, 32, 3)),
    "mnist": ("mnist_cnn", {}, (28, 28, 1)),
    "mnist before activation": ("mnist_preact_resnet", {}, (28, 28, 1)),
}
RNG = np.random.default_rng(0)


def network(case: str) -> tuple[Any, Any, tuple[int, int, int]]:
    name, options, image_shape = CASES[case]
    model = create_model(name, **options)
    return model, quick.trained(model, image_shape), image_shape


def images_like(shape: tuple[int, int, int], count: int = 5) -> np.ndarray:
    """Smooth images beside random ones: a gradient, edges, black, white, noise."""
    height, width, channels = shape
    ramp = np.add.outer(np.arange(height), np.arange(width)) * 255 / (height + width)
    half = np.where(np.arange(width) < width // 2, 255, 30) * np.ones((height, 1))
    drawn = [np.repeat(x[..., None], channels, 2) for x in (ramp, half, 0 * ramp, 0 * ramp + 255)]
    noise = [RNG.integers(0, 256, shape) for _ in range(count - len(drawn))]
    return np.stack([*drawn, *noise]).astype(np.uint8)


def normalization(channels: int) -> dict[str, Sequence[float]]:
    return {"mean": (0.4, 0.5, 0.6)[:channels], "std": (0.2, 0.25, 0.3)[:channels]}


def logits_of(model: Any, variables: Any, images: np.ndarray) -> np.ndarray:
    inputs = normalize(jnp.asarray(images), **normalization(images.shape[-1]))
    return np.asarray(quick.jit(lambda v, x: model.apply(v, x, train=False))(variables, inputs))


def assert_close(found: Any, expected: np.ndarray, tolerance: float) -> None:
    scale = np.abs(expected).max()
    np.testing.assert_allclose(np.asarray(found) / scale, expected / scale, atol=tolerance)
    np.testing.assert_array_equal(np.asarray(found).argmax(1), expected.argmax(1))


@pytest.mark.parametrize("fold", [False, True], ids=["", "folded"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.slow
def test_onnx_gives_the_logits(case: str, fold: bool) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="runs ONNX, and onnxruntime is not installed")
    model, variables, image_shape = network(case)
    if fold and case == "mnist":
        pytest.skip("has no BatchNorm")
    content = to_onnx(model, variables, image_shape, **normalization(image_shape[2]), fold=fold)
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    images = images_like(image_shape)
    if hasattr(model, "dtype"):
        model = model.clone(dtype=jnp.float32)
    expected = logits_of(model, variables, images)
    assert_close(session.run(["logits"], {"images": images})[0], expected, 1e-4)
    assert_close(session.run(["logits"], {"images": images[:1]})[0], expected[:1], 1e-4)
    if fold and "before" not in case:
        assert b"BatchNorm" not in content


def test_onnx_has_no_transposes_between_layers() -> None:
    onnx = pytest.importorskip("onnx", reason="reads ONNX, and onnx is not installed")
    model, variables, image_shape = network("basic")
    graph = onnx.load_from_string(to_onnx(model, variables, image_shape, fold=True)).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("Transpose") == 1
    assert kinds.count("Conv") == 7
    assert [dim.dim_param or dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim] == [
        *("batch", 32, 32, 3)
    ]


@pytest.mark.parametrize("act", ["gelu", "silu", "elu", "leaky_relu", "hard_swish"])
def test_onnx_of_other_activations(act: str) -> None:
    pytest.importorskip("onnxruntime", reason="runs ONNX, and onnxruntime is not installed")
    from flax import linen as nn

    class Small(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
            x = getattr(nn, act)(nn.Conv(4, (3, 3), strides=2)(x))
            x = nn.GroupNorm(2)(x)
            return x.mean((1, 2))

    import onnxruntime

    variables = Small().init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False)
    images = np.asarray(RNG.standard_normal((3, 8, 8, 3)), np.float32)
    session = onnxruntime.InferenceSession(to_onnx(Small(), variables, (8, 8, 3)))
    expected = np.asarray(Small().apply(variables, images, train=False))
    assert_close(session.run(None, {"images": images})[0], expected, 1e-5)


def test_onnx_names_an_operation_without_translation() -> None:
    pytest.importorskip("onnx", reason="writes ONNX, and onnx is not installed")
    from flax import linen as nn

    class Sorting(nn.Module):
        def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
            return jnp.sort(x, axis=1).mean((1, 2))

    with pytest.raises(ExportError, match="the operation 'sort', which has no translation"):
        to_onnx(Sorting(), {}, (8, 8, 3))


PROGRAM = """
import sys
sys.modules["jax_resnet"] = sys.modules["flax"] = sys.modules["optax"] = None
import jax, jax.export, numpy as np
exported = jax.export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
assert exported.platforms == ("cpu", "cuda", "tpu"), exported.platforms
np.save(sys.argv[3], exported.call(np.load(sys.argv[2])))
assert exported.call(np.load(sys.argv[2])[:2]).shape[0] == 2
"""


@pytest.mark.parametrize("case", ["basic", "loops", "mnist before activation"])
@pytest.mark.slow
def test_stablehlo_runs_where_only_jax_is(case: str, tmp_path: Path) -> None:
    pytest.importorskip("flatbuffers", reason="jax.export serializes with it, and it is not installed")
    model, variables, image_shape = network(case)
    content = to_stablehlo(model, variables, image_shape, **normalization(image_shape[2]))
    images = images_like(image_shape)
    (tmp_path / "network.stablehlo").write_bytes(content)
    np.save(tmp_path / "images.npy", images)
    files = [tmp_path / name for name in ("network.stablehlo", "images.npy", "logits.npy")]
    subprocess.run([sys.executable, "-c", PROGRAM, *map(str, files)], check=True, cwd=tmp_path)
    assert_close(np.load(tmp_path / "logits.npy"), logits_of(model, variables, images), 1e-5)


@pytest.mark.parametrize("case", ["basic", "grouped", "large images", "before activation", "vgg"])
def test_stablehlo_holds_operations_of_xla_alone(case: str) -> None:
    pytest.importorskip("flatbuffers", reason="jax.export serializes with it, and it is not installed")
    model, variables, image_shape = network(case)
    content = to_stablehlo(model, variables, image_shape, **normalization(image_shape[2]), fold=True)
    text = jax.export.deserialize(bytearray(content)).mlir_module()
    # What is left is JAX's own check of the batch size, which is gone when the program is compiled.
    assert set(re.findall(r"custom_call @(\w+)", text)) <= {"shape_assertion"}
    assert "jax_resnet_" not in text  # as our own primitives are called
    assert "stablehlo.convolution" in text
    images = images_like(image_shape)
    found = jax.export.deserialize(bytearray(content)).call(images)
    assert_close(found, logits_of(*fold_batch_norm(model, variables), images), 1e-5)


def test_wrong_arguments_are_one_line() -> None:
    model, variables, image_shape = network("basic")
    for change, message in (
        ({"mean": (0.5,) * 3}, "mean and std go together"),
        ({"mean": (0.5,), "std": (0.5,)}, "mean needs 3 numbers, one per channel"),
        ({"image_shape": (32, 32)}, r"image_shape is \(height, width, channels\)"),
        ({"image_shape": (32, 32, 1)}, "cannot be exported"),
    ):
        arguments: dict[str, Any] = {"image_shape": image_shape, **change}
        with pytest.raises(ExportError, match=message) as caught:
            to_stablehlo(model, variables, **arguments)
        assert "\n" not in str(caught.value)
    mnist = network("mnist")
    with pytest.raises(ExportError, match=r"fold: .*MnistCNN has no BatchNorm to fold"):
        to_onnx(*mnist, fold=True)


def test_loops_export_as_the_network_written_out() -> None:
    plain = create_model("resnet20", stage_sizes=(3, 2), widths=(8, 16))
    looped = plain.clone(scan_layers=True)
    variables = quick.trained(plain, (32, 32, 3))
    pytest.importorskip("onnx", reason="writes ONNX, and onnx is not installed")
    assert to_onnx(looped, stack_blocks(variables), (32, 32, 3)) == to_onnx(plain, variables, (32, 32, 3))
