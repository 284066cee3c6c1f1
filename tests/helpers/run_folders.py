"""Run folders written by hand, for tests that need no training."""

import json
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = [f"class {label}" for label in range(10)]


def record(kind: Any, step: int, **changes: Any) -> dict[str, Any]:
    """A valid line of metrics.jsonl, 10 steps per epoch."""
    loss, accuracy = 2.0 / (1 + step / 20), min(0.9, step / 60)
    valid = {
        "kind": kind,
        "step": step,
        "epoch": step / 10,
        "loss": loss,
        "accuracy": accuracy,
        "images": 100,
    }
    return {**valid, **changes}


def write_run(
    folder: Path,
    *,
    arch: str = "resnet20",
    seed: int = 0,
    class_names: Any = CLASSES,
    logits: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    recipe: str = "standard",
    settings: dict[str, dict[str, Any]] | None = None,
    summary: dict[str, Any] | None = None,
) -> Path:
    """Writes a finished run of two epochs; predictions only where logits are given."""
    folder.mkdir(parents=True)
    config: dict[str, Any] = {
        "recipe": recipe,
        "model": {"arch": arch},
        "data": {"dataset": "cifar10"},
        "optim": {"schedule": "cosine"},
        "run": {"seed": seed},
    }
    for group, values in (settings or {}).items():
        config[group] = {**config.get(group, {}), **values}
    about = {
        "config": config,
        "data": {"class_names": class_names},
        "flags": ["--arch", arch],
        "versions": {"jax": "0.10.2"},
        "commit": "0123456789abcdef",
        "device": "cpu, 2 cores",
    }
    (folder / "config.json").write_text(json.dumps(about))
    lines = [record("train", step) for step in (5, 10, 15, 20)]
    lines += [record("val", step) for step in (10, 20)] + [record("test", 20, which="last")]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    results = {
        "arch": arch, "recipe": recipe, "dataset": "cifar10", "parameters": 270_000, "epochs": 2.0,
        "steps": 20, "total_steps": 20, "val_accuracy": 0.5, "test_accuracy": 0.5, "seed": seed,
        "test_accuracy_best": 0.5, "images_per_second": 500.0, "seconds": 70.0, "device": "cpu, 2 cores",
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps({**results, **(summary or {})}))
    if logits is not None:
        labels = np.zeros(len(logits), np.int32) if labels is None else labels
        np.savez(folder / "predictions.npz", labels=labels, logits_last=logits, logits_best=logits)
    return folder
