"""``import jax_resnet``: every name is there, and nothing is loaded before it is used."""

import subprocess
import sys

import pytest

import jax_resnet


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_the_package_loads_no_other_package() -> None:
    heavy = ("jax", "flax", "numpy", "optax", "orbax", "tensorflow_datasets", "PIL", "safetensors")
    assert run(f"import sys, jax_resnet; print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_importing_the_models_loads_jax_flax_and_numpy_alone() -> None:
    heavy = {"optax", "orbax", "tensorflow_datasets", "tensorflow", "matplotlib", "torch", "safetensors"}
    heavy |= {"tensorboardX", "tyro", "PIL", "pooch", "grain"}
    code = (
        f"import sys, jax_resnet; jax_resnet.create_model('resnet20')\n"
        f"print(sorted({heavy} & {{m.partition('.')[0] for m in sys.modules}}))"
    )
    assert run(code) == "[]"


def test_submodules_are_there_without_an_import_of_their_own() -> None:
    assert run("import jax_resnet; print(jax_resnet.data.load.__name__)") == "load"


def test_every_public_name_is_listed_and_loads() -> None:
    assert set(jax_resnet.__all__) <= set(dir(jax_resnet))
    assert {
        "create_model",
        "list_models",
        "models",
        "data",
        "train",
        "optim",
        "checkpoint",
        "convert",
    } <= set(jax_resnet.__all__)
    assert sorted(jax_resnet.__all__) == jax_resnet.__all__
    for name in jax_resnet.__all__:
        assert getattr(jax_resnet, name) is not None
    assert "importlib" not in dir(jax_resnet)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'jax_resnet' has no attribute 'create_modell'"):
        _ = jax_resnet.create_modell
