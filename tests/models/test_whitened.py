"""The network of the recipe speedrun: initialization, whitening, and airbench94 in PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_resnet.convert import to_torch
from jax_resnet.errors import ModelError
from jax_resnet.models import create_model, whitening_kernel
from jax_resnet.models.initializers import identity_init
from tests.helpers import quick


def correlated_images(shape):
    return np.random.default_rng(0).normal(size=shape).cumsum(1).cumsum(2).astype(np.float32)


@pytest.mark.parametrize(("size", "channels"), [(2, 3), (3, 1)])
def test_whitened_patches_are_uncorrelated_and_of_variance_1(size, channels):
    images = correlated_images((50, 9, 9, channels))
    kernel = whitening_kernel(images, size, epsilon=0.0)
    half = kernel.shape[-1] // 2
    assert kernel.shape == (size, size, channels, 2 * size * size * channels)
    np.testing.assert_array_equal(kernel[..., half:], -kernel[..., :half])
    out = jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    rows = np.asarray(out, np.float64).reshape(-1, 2 * half)[:, :half]
    np.testing.assert_allclose(rows.T @ rows / len(rows), np.eye(half), atol=1e-2)


@pytest.mark.parametrize("shape", [(8, 8, 3), (0, 8, 8, 3), (2, 1, 8, 3)])
def test_whitening_refuses_what_has_no_patches(shape):
    with pytest.raises(ModelError, match="2x2 or larger"):
        whitening_kernel(np.zeros(shape, np.float32))


@pytest.mark.parametrize(("inputs", "outputs"), [(4, 6), (6, 4), (4, 4)])
def test_a_convolution_starts_as_the_identity(inputs, outputs):
    kernel = identity_init(jax.random.key(0), (3, 3, inputs, outputs))
    x = jax.random.normal(jax.random.key(1), (2, 5, 5, inputs))
    y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    copied = min(inputs, outputs)
    np.testing.assert_allclose(y[..., :copied], x[..., :copied], rtol=1e-6)
    rest = np.asarray(kernel[..., copied:])
    assert np.abs(rest).max(initial=0) <= 1 / np.sqrt(9 * inputs)


@pytest.mark.parametrize("images", [(2, 8, 8, 3), (2, 32, 32)])
def test_images_too_small_for_three_pools_are_refused(images):
    with pytest.raises(ModelError, match=r"9x9|\(N, H, W, channels\)"):
        create_model("airbench94").init(jax.random.key(0), jnp.zeros(images), train=False)


def torch_airbench(torch, widths):
    """The network of airbench94 as its paper describes it."""
    nn = torch.nn

    class Group(nn.Module):
        def __init__(self, inputs, outputs):
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            self.norm1 = nn.BatchNorm2d(outputs)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
            self.norm2 = nn.BatchNorm2d(outputs)

        def forward(self, x):
            x = nn.functional.gelu(self.norm1(nn.functional.max_pool2d(self.conv1(x), 2)))
            return nn.functional.gelu(self.norm2(self.conv2(x)))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.whiten = nn.Conv2d(3, 24, 2)
            groups = [Group(i, o) for i, o in zip((24, *widths), widths, strict=False)]
            self.layers = nn.Sequential(nn.GELU(), *groups)
            self.head = nn.Linear(widths[-1], 10, bias=False)

        def forward(self, x):
            return self.head(self.layers(self.whiten(x)).amax((2, 3)))

    return Net()


def test_airbench94_is_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    model = create_model("airbench94", widths=(8, 16, 16))
    variables = quick.trained(model, (32, 32, 3))
    net = torch_airbench(torch, (8, 16, 16)).eval()
    state = {name: torch.tensor(np.asarray(value)) for name, value in to_torch(variables, model).items()}
    net.load_state_dict(state, strict=True)
    images = jax.random.normal(jax.random.key(3), (4, 32, 32, 3))
    with torch.no_grad():
        expected = net(torch.tensor(np.asarray(images)).permute(0, 3, 1, 2)).numpy()
    ours = quick.jit(lambda v: model.apply(v, images, train=False))(variables)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)
