"""Pretrained weights made up in a folder, for tests that need no training."""

import hashlib
import json
from pathlib import Path
from typing import Any

from jax_resnet.convert import to_torch, write_state_dict
from jax_resnet.models import create_model
from tests.helpers import quick

OPTIONS: dict[str, Any] = {"widths": [4, 6, 8], "num_classes": 10}
MODEL = create_model("resnet8", **OPTIONS)
VARIABLES = quick.trained(MODEL, (32, 32, 3))


def content(path: Path, **changes: Any) -> dict[str, Any]:
    """A valid card's JSON object."""
    return {
        "name": path.name.removesuffix(".safetensors"),
        "arch": "resnet8",
        "options": OPTIONS,
        "parameters": 5000,
        "dataset": "digits",
        "image_shape": [32, 32, 3],
        "mean": [0.4, 0.5, 0.6],
        "std": [0.2, 0.2, 0.3],
        "class_names": list("0123456789"),
        "test_accuracy": 0.5,
        "test_images": 355,
        "run_test_accuracy": 0.5,
        "val_accuracy": None,
        "protocol": "all 1,442 images to train on, the last checkpoint, tested once",
        "command": "python -m experiments.cifar10 --dataset digits",
        "commit": "0123456789abcdef",
        "seed": 0,
        "epochs": 2.0,
        "step": 90,
        "seconds": 3.5,
        "machine": "cpu, 2 cores",
        "versions": {"jax": "0.10.2"},
        "weights_license": "Apache-2.0",
        "data_license": "CC BY 4.0",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        **changes,
    }


def write(folder: Path, file: str = "tiny.digits", **changes: Any) -> dict[str, Any]:
    """Writes weights and card; returns the card's content."""
    path = folder / f"{file}.safetensors"
    write_state_dict(path, to_torch(VARIABLES, MODEL))
    card = content(path, **changes)
    (folder / f"{file}.json").write_text(json.dumps(card))
    return card
