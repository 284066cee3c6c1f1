"""The doctor on machines where something is wrong: always an answer, never a traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.doctor import convolution, data, devices, machine, reference, selftest, versions
from experiments.doctor.__main__ import main
from experiments.doctor.config import DoctorConfig
from experiments.program.errors import ConfigError
from jax_resnet.data.prepared.cache import cache_path
from jax_resnet.layers.onednn import cache
from jax_resnet.models import create_model

ROOT = Path(__file__).parents[3]


def doctor(*args, before="", **environment):
    """Runs the doctor by a shell, after commands, and returns its exit code and its answer."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **{name: str(value) for name, value in environment.items()}}
    command = f"{before}\nexec {sys.executable} -m experiments.doctor --json {' '.join(args)}"
    done = subprocess.run(["bash", "-c", command], env=env, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stdout + done.stderr
    answer = json.loads(done.stdout)
    problems = [finding for finding in answer["findings"] if finding["status"] == "problem"]
    assert answer["healthy"] == (not problems)
    assert done.returncode == bool(problems)
    assert all(finding["advice"] for finding in problems)
    return answer["findings"]


def problems(findings):
    return {finding["label"]: finding["text"] for finding in findings if finding["status"] == "problem"}


def labels(findings):
    return {finding["label"] for finding in findings}


ALL = {
    "project",
    "packages",
    "platform",
    "memory",
    "disk",
    "devices",
    "convolution",
    "malloc",
    "data",
    "self-test",
}


def test_on_this_machine_everything_is_looked_at(capsys):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        main([])
    said = capsys.readouterr().out
    assert {line[2:].split()[0] for line in said.splitlines()[1:-1] if line[2] != " "} >= ALL
    assert "the loss falls" in said
    assert "equal to the bit" in said
    assert said.splitlines()[-1].startswith("healthy: no problem found")


def test_without_jax_the_rest_is_answered(tmp_path):
    (tmp_path / "jax.py").write_text("raise ImportError('no jax here')")
    findings = doctor(PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert {"devices", "convolution", "self-test"} <= problems(findings).keys()
    assert {"project", "packages", "platform", "data"} <= labels(findings)


def test_a_jax_without_devices_and_a_wrong_convolution_are_problems():
    found = problems(doctor(JAX_PLATFORMS="nonsense", JAX_RESNET_CONV="fastest"))
    assert "JAX finds no device" in found["devices"]
    assert "JAX_RESNET_CONV is 'fastest'" in found["convolution"]
    assert "self-test" in found


@pytest.mark.slow
def test_folders_that_cannot_be_written_are_problems(tmp_path):
    (tmp_path / "file").touch()
    below = tmp_path / "file" / "folder"
    found = doctor(HOME=below, JAX_RESNET_CACHE="/proc/1/none", JAX_COMPILATION_CACHE_DIR=tmp_path)
    assert "/proc/1" in problems(found)["disk"]
    assert labels(found) >= ALL


@pytest.mark.slow
def test_a_disk_that_takes_nothing_is_a_problem(tmp_path):
    found = doctor(before="ulimit -f 0", TMPDIR=tmp_path, JAX_COMPILATION_CACHE_DIR=tmp_path)
    assert "cannot be written" in problems(found)["disk"]
    assert "self-test" in problems(found)
    assert any("the loss falls" in finding["text"] for finding in found)


@pytest.mark.slow
def test_lack_of_memory_is_a_problem_at_most():
    found = doctor(before="ulimit -v 1500000")
    assert {"project", "packages", "platform"} <= labels(found)


def test_wrong_flags_are_named():
    for flags, message in (
        (["--accelerater"], "did you mean --accelerator"),
        (["--seconds", "0"], "--seconds must be more than 0"),
        (["runs/mine", "--accelerator"], "choose one"),
        (["a", "b"], "unexpected argument b"),
        (["a\0b"], "NUL"),
    ):
        with pytest.raises(ConfigError, match=message):
            main(flags)


def test_a_gpu_that_is_not_used_is_a_problem(monkeypatch):
    monkeypatch.setattr(devices, "nvidia_cards", lambda: ["NVIDIA X, driver 580.1, memory 80 GiB, 0 used"])
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    *_, found = devices.devices(DoctorConfig())
    assert found.status == "problem"
    assert "jax[cuda13]" in found.advice
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    *_, found = devices.devices(DoctorConfig())
    assert found.status == "note"


def test_a_damaged_extension_is_named_and_left_alone(monkeypatch, tmp_path):
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path))
    folder = cache.cache_folder()
    folder.mkdir(parents=True)
    (folder / f"key-{'0' * 32}.so").write_bytes(b"damaged")
    fresh = tmp_path / "fresh.so"
    fresh.write_bytes(b"intact")
    cache.keep(fresh, folder, "other")
    first = next(convolution.convolution(DoctorConfig()))
    assert first.status == "note"
    assert "is damaged" in first.text
    assert [path.name for path in cache.damaged(folder)] == [f"key-{'0' * 32}.so"]


@pytest.mark.parametrize("damage", ["none", "not there", "of other files", "damaged", "info"])
def test_prepared_data_and_its_cache(tmp_path, damage):
    from jax_resnet.data.dataset import ArraySplit, Dataset
    from jax_resnet.data.prepared.cache import write_cache
    from jax_resnet.data.prepared.read import find_complete
    from jax_resnet.data.registry import get_spec
    from jax_resnet.data.reporter import SILENT

    spec = get_spec("mnist")
    folder = tmp_path / "mnist" / spec.version
    folder.mkdir(parents=True)
    splits = [{"name": name, "shardLengths": ["1"]} for name in ("train", "test")]
    info = {"name": "mnist", "fileFormat": "array_record", "splits": splits}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (folder / "features.json").write_text("{}")
    for name in ("train", "test"):
        (folder / f"mnist-{name}.array_record-00000-of-00001").write_bytes(b"x")
    split = ArraySplit(np.zeros((3, 28, 28, 1), np.uint8), np.zeros(3, np.int32))
    dataset = Dataset("mnist", split, split, spec.class_names, (0.1,), (0.3,))
    path = cache_path(tmp_path / "mnist")
    if damage != "not there":
        fingerprint = find_complete(tmp_path, spec, SILENT).fingerprint()
        write_cache(path, dataset, "other" if damage == "of other files" else fingerprint)
    if damage == "damaged":
        path.write_bytes(path.read_bytes()[:500])
    if damage == "info":
        (folder / "dataset_info.json").write_text("[]")
    (found,) = data.state(DoctorConfig(data_dir=str(tmp_path)), spec)
    if damage == "info":
        assert found.status == "problem"
        assert "incomplete" in found.text
    elif damage == "none":
        assert found.status == "ok"
        assert "3 and 3 images; decoded cache valid" in found.text
    else:
        assert found.status == "note"
        assert damage in found.text


def test_data_that_is_not_prepared_is_no_problem(tmp_path):
    found = list(data.data_sets(DoctorConfig(data_dir=str(tmp_path / "none"))))
    assert {finding.status for finding in found} == {"ok"}
    assert sum("not prepared" in finding.text for finding in found) == 3


def test_little_room_and_memory_are_problems(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "free_gib", lambda folder: 0.2)
    monkeypatch.setattr(machine, "memory_gib", lambda: (0.1, 8.0))
    monkeypatch.chdir(tmp_path)
    found = [*machine.disk(DoctorConfig()), *machine.platform_and_memory(DoctorConfig())]
    texts = [finding.text for finding in found if finding.status == "problem"]
    assert any("runs" in text and "0.2 GiB free" in text for text in texts)
    assert any("0.1 of 8.0 GiB free" in text for text in texts)
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_too_old_is_a_problem(monkeypatch):
    pytest.importorskip("packaging", reason="which compares versions")
    monkeypatch.setattr(versions.importlib.metadata, "requires", lambda name: ["numpy>=99", "jax>=0.1"])
    (found,) = versions.too_old()
    assert found.status == "problem"
    assert "numpy" in found.text


def test_the_reference_is_the_network_in_float64():
    model = create_model(**selftest.NETWORK, dtype="float64")
    with jax.enable_x64(True):
        shapes = jax.eval_shape(
            lambda: model.init(jax.random.key(0), np.zeros((1, *selftest.SHAPE)), train=False)
        )
        variables = reference.fill(shapes)
        images = np.random.default_rng(0).standard_normal((3, *selftest.SHAPE))
        ours = model.apply(variables, images, train=False)
    expected = reference.logits(variables, images)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-12)


def test_the_self_test_finds_a_wrong_network(monkeypatch):
    monkeypatch.setattr(reference, "EPSILON", 1e-2)
    found = list(selftest.self_test(DoctorConfig()))
    assert [finding.status for finding in found] == ["problem", "ok", "ok"]
