"""What the user names: every layout decodes to the same arrays, everything else is refused by name."""

import gzip
import hashlib
import io
import os
import pickle
import tarfile

import numpy as np
import pytest

from jax_resnet import data
from jax_resnet.data import registry
from tests.helpers import datasets as helpers

BOTH = ["cifar10", "cifar100"]
FORMS = {"binary": helpers.binary_files, "python": helpers.pickled_files}


@pytest.fixture
def tiny(monkeypatch):
    """Registers a tiny data set, returns its splits."""

    def register(name, **changes):
        spec = helpers.tiny_spec(name, **changes)
        monkeypatch.setitem(registry.DATASETS, name, spec)
        return helpers.tiny_splits(spec)

    return register


def load(name, path, tmp_path, **kwargs):
    return data.load(name, data_dir=tmp_path / "tfds", archive=path, **kwargs)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", BOTH)
def test_every_form_gives_the_same_arrays_in_the_archives_order(tiny, tmp_path, name, form):
    splits = tiny(name)
    files = FORMS[form](name, splits)
    archive = helpers.write_tar(tmp_path / "a.tar.gz", files)
    extracted = helpers.write_folder(tmp_path / "extracted", files)
    parent = helpers.write_folder(tmp_path / "parent" / "batches", files).parent
    held = tmp_path / "held"
    held.mkdir()
    helpers.write_tar(held / f"{name.replace('cifar', 'cifar-')}-{form}.tar.gz", files)
    for path in (archive, extracted, parent, held):
        helpers.assert_same(load(name, path, tmp_path), splits)


@pytest.mark.parametrize("protocol", [2, 4])
def test_pickles_written_by_python_3_decode_too(tiny, tmp_path, protocol):
    splits = tiny("cifar10")
    files = helpers.pickled_files("cifar10", splits, lambda content: pickle.dumps(content, protocol))
    helpers.assert_same(load("cifar10", helpers.write_tar(tmp_path / "a.tar.gz", files), tmp_path), splits)


def test_statistics_and_names(tiny, tmp_path):
    splits = tiny("cifar100")
    path = helpers.write_folder(tmp_path / "a", helpers.binary_files("cifar100", splits))
    dataset = load("cifar100", path, tmp_path)
    scaled = splits[0].images.astype(np.float64) / 255
    np.testing.assert_allclose(dataset.mean, scaled.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(dataset.std, scaled.std((0, 1, 2)), rtol=1e-12)
    assert isinstance(dataset.mean, tuple)
    assert len(set(dataset.class_names)) == dataset.num_classes == 100
    assert list(dataset.class_names) == sorted(dataset.class_names)


@pytest.mark.parametrize(
    "module_and_name", [("os", "system"), ("builtins", "eval"), ("numpy", "load"), ("subprocess", "Popen")]
)
def test_a_pickle_cannot_run_code(tiny, tmp_path, module_and_name):
    splits = tiny("cifar10")
    files = helpers.pickled_files("cifar10", splits)
    witness = tmp_path / "witness"
    module, name = module_and_name
    files["data_batch_3"] = f"c{module}\n{name}\n(S'touch {witness}'\ntR.".encode()
    archive = helpers.write_tar(tmp_path / "a.tar.gz", files)
    with pytest.raises(data.DataError, match=rf"a.tar.gz: data_batch_3 is refused.*{module}.{name}") as error:
        load("cifar10", archive, tmp_path)
    assert "\n" not in str(error.value)
    assert not witness.exists()


def test_members_that_leave_the_folder_are_refused(tiny, tmp_path):
    files = helpers.binary_files("cifar10", tiny("cifar10"))
    archive = helpers.write_tar(tmp_path / "a.tar.gz", {"../../outside": b"x", **files})
    with pytest.raises(data.DataError, match=r"a\.tar\.gz is refused.*leaves its folder"):
        load("cifar10", archive, tmp_path)
    assert not (tmp_path.parent / "outside").exists()


def test_links_in_place_of_files_are_refused(tiny, tmp_path):
    files = helpers.binary_files("cifar10", tiny("cifar10"))
    del files["test_batch.bin"]
    archive = helpers.write_tar(tmp_path / "a.tar", files)
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        member = tarfile.TarInfo("batches/test_batch.bin")
        member.type, member.linkname = tarfile.SYMTYPE, "data_batch_1.bin"
        tar.addfile(member)
        with tarfile.open(archive) as rest:
            for each in rest:
                tar.addfile(each, rest.extractfile(each))
    with pytest.raises(data.DataError, match=r"b\.tar is refused: .*test_batch\.bin is not a plain file"):
        load("cifar10", tmp_path / "b.tar", tmp_path)


def test_bad_archives_are_refused_by_name_in_one_line(tiny, tmp_path):
    splits = tiny("cifar10")
    files = helpers.binary_files("cifar10", splits)
    good = helpers.write_tar(tmp_path / "good.tar.gz", files).read_bytes()
    batch = files["data_batch_2.bin"]
    pickled = helpers.pickled_files("cifar10", splits)
    altered = bytes([batch[0] ^ 1]) + batch[1:]
    bad = {
        "missing.tar.gz": (None, "does not exist"),
        "empty.tar.gz": (b"", "not a complete tar archive"),
        "text.tar.gz": (b"<html>404 Not Found</html>" * 99, "not a complete tar archive"),
        "truncated.tar.gz": (good[: len(good) // 2], "truncated|not a complete"),
        "flipped.tar.gz": (good[:5000] + bytes(500) + good[5500:], "damaged|truncated|not a complete"),
        "nothing.tar.gz": ({"readme": b"x"}, "data_batch_1 is missing"),
        "lacking.tar.gz": ({**files, "data_batch_4.bin": None}, r"data_batch_4\.bin is missing"),
        "short.tar.gz": ({**files, "data_batch_2.bin": batch[:-1]}, r"data_batch_2\.bin has \d+ bytes"),
        "fewer.tar.gz": ({**files, "test_batch.bin": batch}, "not 50 and 20"),
        "altered.tar.gz": ({**files, "data_batch_2.bin": altered}, "train labels are not those of CIFAR-10"),
        "swapped.tar.gz": (
            {**files, "data_batch_2.bin": files["data_batch_1.bin"]},
            "train images are not those of CIFAR-10",
        ),
        "garbage.tar.gz": ({**pickled, "data_batch_1": b"garbage"}, "data_batch_1 is not a readable pickle"),
        "list.tar.gz": ({**pickled, "data_batch_1": pickle.dumps([1])}, "holds a list"),
        "other.tar.gz": ({**pickled, "data_batch_1": pickle.dumps({"data": 1})}, "lacks labels"),
        "odd.tar.gz": (
            {**pickled, "data_batch_1": pickle.dumps({"data": np.zeros((2, 3)), "labels": [1, 2]})},
            "data is not uint8",
        ),
    }
    for name, (content, message) in bad.items():
        path = tmp_path / name
        if isinstance(content, dict):
            helpers.write_tar(path, {file: blob for file, blob in content.items() if blob is not None})
        elif content is not None:
            path.write_bytes(content)
        with pytest.raises(data.DataError, match=message) as error:
            load("cifar10", path, tmp_path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value), name
    assert not list((tmp_path / "tfds").glob("*"))


def test_a_wrong_archive_fails_even_when_the_data_are_there(tiny, tmp_path):
    splits = tiny("cifar10")
    load("cifar10", helpers.write_folder(tmp_path / "a", helpers.binary_files("cifar10", splits)), tmp_path)
    with pytest.raises(data.DataError, match="does not exist"):
        load("cifar10", tmp_path / "missing", tmp_path)


def test_cifar100_out_of_range_labels_are_refused(tiny, tmp_path):
    splits = tiny("cifar100")
    splits[0].labels[7] = 100
    path = helpers.write_folder(tmp_path / "a", helpers.binary_files("cifar100", splits))
    with pytest.raises(data.DataError, match="train labels reach from 0 to 100, expected 0 to 99"):
        load("cifar100", path, tmp_path)


def test_cifar100_that_cannot_be_checked_says_so(tiny, tmp_path):
    splits = tiny("cifar100")
    archive = helpers.write_tar(tmp_path / "a.tar.gz", helpers.binary_files("cifar100", splits))
    recorder = helpers.Recorder()
    load("cifar100", archive, tmp_path, reporter=recorder)
    assert any("could not be checked" in line for line in recorder.lines)
    tiny("cifar100", archives={"cifar-100-binary.tar.gz": hashlib.md5(archive.read_bytes()).hexdigest()})
    recorder = helpers.Recorder()
    load("cifar100", archive, tmp_path, reporter=recorder)
    assert recorder.lines == []


def test_other_contents_than_the_prepared_ones_are_refused(tiny, tmp_path):
    tiny("cifar100")
    for seed in (1, 2):
        splits = helpers.tiny_splits(registry.DATASETS["cifar100"], seed)
        helpers.write_folder(tmp_path / str(seed), helpers.binary_files("cifar100", splits))
    load("cifar100", tmp_path / "1", tmp_path)
    with pytest.raises(data.DataError, match="already holds other data"):
        load("cifar100", tmp_path / "2", tmp_path)


@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_mnist_files(tiny, tmp_path, dotted, compressed):
    splits = tiny("mnist")
    files = {}
    for name, content in helpers.mnist_files(splits).items():
        name = name.replace("-idx", ".idx") if dotted else name
        files[name + ".gz" * compressed] = gzip.compress(content) if compressed else content
    folder = helpers.write_folder(tmp_path / "a", files)
    archive = helpers.write_tar(tmp_path / "a.tar.gz", files)
    for path in (folder, archive, folder / next(iter(files))):
        dataset = load("mnist", path, tmp_path)
        assert dataset.train.images.shape == (50, 28, 28, 1)
        helpers.assert_same(dataset, splits)


def test_bad_mnist_files_are_refused_by_name(tiny, tmp_path):
    files = helpers.mnist_files(tiny("mnist"))
    name = "t10k-images-idx3-ubyte"
    bad = {
        "missing": (None, f"{name}.*is missing"),
        "truncated": (files[name][:-1], "header promises"),
        "cut": (gzip.compress(files[name])[:-20], "truncated"),
        "html": (b"<html>", "not an IDX file"),
        "fewer": (files["t10k-labels-idx1-ubyte"], "does not hold MNIST"),
        "altered": (files[name][:-1] + b"\x00", "test images are not those of MNIST"),
    }
    for case, (content, message) in bad.items():
        kept = {file: blob for file, blob in {**files, name: content}.items() if blob is not None}
        path = helpers.write_folder(tmp_path / case, kept)
        with pytest.raises(data.DataError, match=message) as error:
            load("mnist", path, tmp_path)
        assert str(path) in str(error.value)


def test_unreadable_file(tiny, tmp_path):
    tiny("cifar10")
    path = tmp_path / "a.tar.gz"
    path.write_bytes(b"x")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(data.DataError, match="cannot be read"):
        load("cifar10", path, tmp_path)


def test_nested_archives_hold_no_surprises(tiny, tmp_path):
    files = helpers.binary_files("cifar10", tiny("cifar10"))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in ("a", "b"):
            for name, content in files.items():
                member = tarfile.TarInfo(f"{folder}/{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    (tmp_path / "twice.tar").write_bytes(buffer.getvalue())
    with pytest.raises(data.DataError, match=r"twice\.tar is refused: it holds data_batch_1\.bin twice"):
        load("cifar10", tmp_path / "twice.tar", tmp_path)
