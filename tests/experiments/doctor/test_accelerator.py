"""What a GPU's owner runs, in small on a CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.doctor.accelerator import references
from experiments.doctor.accelerator.lowering import foreign_operations
from experiments.doctor.config import DoctorConfig

ROOT = Path(__file__).parents[3]


def test_operations_of_ours_are_found_in_a_program():
    text = '%1 = stablehlo.custom_call @jax_resnet_onednn_conv(%0)\n%2 = "stablehlo.case"(%1)\nstablehlo.add'
    assert foreign_operations(text) == (["case", "jax_resnet_onednn_conv"], [])
    assert foreign_operations("stablehlo.custom_call @Sharding(%0)") == ([], ["Sharding"])
    assert foreign_operations("stablehlo.convolution(%0)") == ([], [])


def test_without_the_tests_the_references_are_left_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "tests.golden.references", None)
    (found,) = references.references(DoctorConfig())
    assert found.status == "note"
    assert "checkout" in found.advice


@pytest.mark.slow
def test_a_cpu_goes_through_all_parts():
    command = [sys.executable, "-m", "experiments.doctor", "--accelerator", "--json", "--seconds", "30"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    labels = {finding["label"] for finding in answer["findings"]}
    assert {"devices", "programs", "references", "checkpoint", "speed", "pytorch"} <= labels
    carried = [finding["text"] for finding in answer["findings"] if finding["label"] == "checkpoint"]
    assert "equal to the bit" in carried[0]
    rates = [
        finding["values"]["images_per_second"]
        for finding in answer["findings"]
        if finding["label"] == "speed" and finding["values"]
    ]
    assert rates
    assert min(rates) > 0
