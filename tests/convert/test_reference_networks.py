"""An exported state_dict loads strictly into a reference implementation, which gives the same logits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.export import main
from jax_resnet import checkpoint
from jax_resnet.models import create_model
from tests.helpers import quick

torch = pytest.importorskip("torch", reason="loads state_dicts, and PyTorch is not installed")
from tests.helpers.torch_resnet import AkamasterResNet, Basic, Bottleneck, TorchvisionResNet  # noqa: E402

LARGE = {"stem": "imagenet", "num_classes": 1000}
# Name, options of create_model, the style of names, the reference, the images' size.
CASES: dict[str, tuple[dict[str, Any], str, Any, int]] = {
    "resnet20": ({}, "akamaster", lambda: AkamasterResNet(3), 32),
    "resnet56": ({"scan_layers": True}, "akamaster", lambda: AkamasterResNet(9), 16),
    "resnet18": (LARGE, "torchvision", lambda: TorchvisionResNet(Basic, (2, 2, 2, 2)), 64),
    "resnext50_32x4d": (
        LARGE,
        "torchvision",
        lambda: TorchvisionResNet(Bottleneck, (3, 4, 6, 3), groups=32, base_width=4),
        64,
    ),
}


@pytest.mark.parametrize("kind", ["torch", "safetensors"])
@pytest.mark.parametrize(
    "name",
    ["resnet20", *(pytest.param(name, marks=pytest.mark.slow) for name in CASES if name != "resnet20")],
)
def test_an_exported_state_dict_loads_strictly_with_equal_logits(
    name: str, kind: str, tmp_path: Path
) -> None:
    options, style, make_reference, size = CASES[name]
    model = create_model(name, **options)
    variables = quick.trained(model, (size, size, 3))
    checkpoint.save(tmp_path / "run", variables, {"model": {"name": name, **options}})
    out = tmp_path / ("a.pth" if kind == "torch" else "a.safetensors")
    main([str(tmp_path / "run"), "--format", kind, "--style", style, "--out", str(out)])
    if kind == "torch":
        state_dict = torch.load(out, weights_only=True)
    else:
        from safetensors.torch import load_file

        state_dict = load_file(out)
    reference = make_reference().eval()
    reference.load_state_dict(state_dict, strict=True)
    images = np.random.default_rng(0).standard_normal((2, size, size, 3)).astype(np.float32)
    with torch.no_grad():
        expected = reference(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    found = quick.jit(lambda v, x: model.apply(v, x, train=False))(variables, images)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
