"""What a run records about the machine."""

import json
import platform
import shlex
import subprocess
import sys

import jax
import pytest

from experiments.runs import environment


def test_the_device_is_named_with_the_processors_model(monkeypatch):
    monkeypatch.setattr(environment, "cpu_name", lambda: "AMD EPYC 9B14")
    monkeypatch.setattr(environment, "usable_cores", lambda: 2)
    count = jax.device_count()
    expected = "AMD EPYC 9B14, 2 cores"
    assert environment.device() == (expected if count == 1 else f"{count} x {expected}")
    monkeypatch.setattr(environment, "cpu_name", lambda: None)
    assert environment.device().endswith("cpu, 2 cores")
    monkeypatch.setattr(environment, "usable_cores", lambda: 1)
    assert environment.device().endswith("cpu, 1 core")


def test_an_accelerator_is_named_by_its_kind(monkeypatch):
    class Gpu:
        platform, device_kind = "gpu", "NVIDIA H100 80GB HBM3"

    monkeypatch.setattr(jax, "devices", lambda: [Gpu()])
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert environment.device() == "1 x NVIDIA H100 80GB HBM3"
    hardware = environment.hardware()
    assert (hardware["platform"], hardware["device_kind"]) == ("gpu", "NVIDIA H100 80GB HBM3")
    assert (hardware["devices"], hardware["processes"]) == (1, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/cpuinfo")
def test_the_processor_has_a_name_on_linux():
    if platform.machine() in ("x86_64", "AMD64"):
        assert environment.cpu_name()


def test_the_command_is_what_was_typed(start, tmp_path):
    args = ["--dataset", "digits", "--arch", "resnet8", "--epochs", "1", "--batch-size", "256"]
    args += ["--workdir", str(tmp_path / "my run"), "--data-dir", str(tmp_path)]
    process = start(*args)
    assert process.communicate()[1] == ""
    about = json.loads((tmp_path / "my run" / "config.json").read_text())
    assert about["command"] == shlex.join(["python", "-m", "experiments.cifar10", *args])
    assert about["flags"] == args
    assert about["hardware"] == json.loads((tmp_path / "my run" / "summary.json").read_text())["hardware"]


def test_a_script_is_named_by_its_file(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text("from experiments.runs.environment import command; print(command())")
    found = subprocess.run(
        [sys.executable, str(script), "--x", "a b"], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == shlex.join(["python", str(script), "--x", "a b"])
