"""An exported network names the classes that the network names, on real images."""

from typing import Any

import jax
import numpy as np
import pytest

from jax_resnet.data.augment import normalize
from jax_resnet.export import to_onnx
from jax_resnet.models import create_model
from tests.helpers import quick


@pytest.mark.slow
@pytest.mark.cifar10
@pytest.mark.parametrize("fold", [False, True])
def test_onnx_has_the_same_top_1_on_1000_test_images(fold: bool, cifar10: Any) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="runs ONNX, and onnxruntime is not installed")
    model = create_model("resnet20")
    variables = quick.trained(model, (32, 32, 3))
    images, pixels = cifar10.test.images[:1000], {"mean": cifar10.mean, "std": cifar10.std}
    apply = jax.jit(lambda v, x: model.apply(v, normalize(x, **pixels), train=False))
    # Untrained, a network names one class for all images: less the mean, the logits differ by the image.
    head = variables["params"]["head"]
    head["bias"] = head["bias"] - np.asarray(apply(variables, images)).mean(0)
    content = to_onnx(model, variables, (32, 32, 3), **pixels, fold=fold)
    found = runtime.InferenceSession(content).run(None, {"images": images})[0]
    expected = np.asarray(apply(variables, images))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    assert len(set(expected.argmax(1))) > 5
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))
