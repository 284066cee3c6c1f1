"""A disk that fills while something is written: one line, nothing half written, nothing lost."""

import os
import shutil

import pytest

from experiments import export
from experiments.cifar10 import main
from experiments.report.__main__ import main as report_main
from jax_resnet import checkpoint, convert, data
from jax_resnet.checkpoint import manifest
from jax_resnet.convert.__main__ import main as convert_main
from tests.helpers import datasets as helpers
from tests.helpers.disk import full, mounted
from tests.helpers.programs import outcome

FULL = "the disk is full: free some space"


@pytest.fixture
def disk(tmp_path):
    """A file system of 12 MiB."""
    try:
        with mounted(tmp_path / "disk", 12 * 1024) as folder:
            yield folder
    except OSError as error:
        pytest.skip(str(error))


def left_behind(folder):
    return [str(path) for path in folder.rglob("*") if "tmp" in path.name or "partial" in path.name]


def until_it_fits(disk, lefts, attempt):
    """Attempts with more and more KiB left on the disk; what was said where it was too little."""
    said = []
    for left in lefts:
        with full(disk, left):
            code, error = attempt()
            assert left_behind(disk) == []
        if code == 0:
            return said
        assert code == 1
        assert error.count("\n") == 1, error
        assert FULL in error
        assert str(disk) in error
        said.append(error)
    raise AssertionError("it never fitted")


@pytest.mark.slow
def test_the_end_of_a_run(finished, disk, capfd):
    run = disk / "run"
    shutil.copytree(finished, run)
    for name in ("summary.json", "predictions.npz", "curves.png"):
        (run / name).unlink()

    def attempt():
        result = outcome(capfd, main, "--resume", "--workdir", run)
        for step in (run / "checkpoints").iterdir():
            assert manifest.damage(step) == ""
        if result[0]:
            assert not (run / "summary.json").exists()
        return result

    said = until_it_fits(disk, range(0, 400, 8), attempt)
    for name in ("metrics.jsonl", "predictions.npz", "curves.png"):
        assert any(name in line for line in said), name
    assert (run / "summary.json").exists()


@pytest.mark.slow
def test_a_report(finished, disk, capfd):
    out = disk / "report"
    said = until_it_fits(
        disk, range(0, 2000, 40), lambda: outcome(capfd, report_main, finished, "--out", out)
    )
    assert said
    assert (out / "report.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("safetensors", "a.safetensors"),
        ("torch", "a.pth"),
        ("stablehlo", "a.stablehlo"),
        ("onnx", "a.onnx"),
        ("orbax", "exported"),
    ],
)
def test_an_export(finished, disk, capfd, form, name):
    needs = {"torch": "torch", "stablehlo": "flatbuffers", "onnx": "onnx"}.get(form)
    if needs:
        pytest.importorskip(needs, reason=f"{form} needs it")
    out = disk / "new" / name

    def attempt():
        result = outcome(capfd, export.main, finished, "--format", form, "--out", out)
        assert result[0] == 0 or not out.exists()
        return result

    assert until_it_fits(disk, (0, 8, 120, 2000), attempt)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.safetensors", "converted"])
def test_a_conversion(finished, disk, capfd, name):
    checkpoint.save(disk / "converted", *checkpoint.restore(finished)[1:])

    def attempt():
        code = convert_main([str(finished), str(disk / name), "--overwrite"])
        return code, capfd.readouterr().err

    assert until_it_fits(disk, (0, 8, 120, 2000), attempt)
    assert sorted(set(os.listdir(disk)) - {name}) == sorted({"converted"} - {name})
    assert checkpoint.restore(disk / "converted").variables  # the one before, or the new one


@pytest.mark.slow
def test_weights_that_were_there_before_stay(finished, disk, capfd):
    out = disk / "a.safetensors"
    assert convert_main([str(finished), str(out)]) == 0
    before = out.read_bytes()
    with full(disk, 8):
        assert convert_main([str(finished), str(out), "--overwrite"]) == 1
    assert out.read_bytes() == before
    assert convert.read_state_dict(out)


@pytest.mark.slow
def test_data_that_is_prepared(disk, tmp_path):
    spec = helpers.tiny_spec("cifar10")
    files = helpers.binary_files("cifar10", helpers.tiny_splits(spec))
    archive = helpers.write_tar(tmp_path / "cifar-10-binary.tar.gz", files)
    folder = disk / "data"
    lefts = (0, 4, 40, 120)
    for left in lefts:
        with (
            full(disk, left),
            pytest.raises(data.DataError, match=r"cannot be|disk is full|No space left") as error,
        ):
            data.load(spec, data_dir=folder, archive=archive)
        assert "\n" not in str(error.value)
        assert str(folder) in str(error.value)
        assert [path for path in folder.rglob("*") if path.is_file() and path.name != ".preparing.lock"] == []
    loaded = data.load(spec, data_dir=folder, archive=archive)
    again = data.load(spec, data_dir=folder)
    helpers.assert_same_splits((again.train, again.test), (loaded.train, loaded.test))
