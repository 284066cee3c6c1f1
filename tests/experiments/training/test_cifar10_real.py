import json

import pytest

from experiments.cifar10 import main


@pytest.mark.slow
@pytest.mark.cifar10
def test_a_few_steps_on_the_real_cifar10(cifar10, tmp_path):
    main(["--recipe", "quick", "--arch", "resnet8", "--max-steps", "40", "--workdir", str(tmp_path)])
    summary = json.loads((tmp_path / "summary.json").read_text())
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert {record["kind"]: record["images"] for record in records if record["kind"] != "train"} == {
        "val": 5000,
        "test": 10_000,
    }
    assert summary["test_accuracy"] > 0.15  # ten classes, forty steps


@pytest.mark.cifar10
def test_the_real_cifar10_has_its_published_statistics(cifar10):
    assert cifar10.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=1e-4)
    assert cifar10.std == pytest.approx((0.2470, 0.2435, 0.2616), abs=1e-4)
    assert cifar10.class_names[cifar10.train.labels[0]] == "frog"
