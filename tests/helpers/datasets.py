"""Small data sets in the exact layouts of the originals, and a reporter that remembers."""

import contextlib
import dataclasses
import hashlib
import io
import pickle
import tarfile
from typing import ClassVar

import numpy as np

from jax_resnet.data import ArraySplit, registry

TRAIN, TEST = 50, 20


def tiny_spec(name, seed=0, **changes):
    """The row of a data set cut down to 50 + 20 examples, with their sums and no network sources."""
    spec = dataclasses.replace(
        registry.DATASETS[name], train_size=TRAIN, test_size=TEST, hosts=(), copies=(), npm=None, sums=None
    )
    train, test = tiny_splits(spec, seed)
    if name != "cifar100":
        arrays = (train.images, train.labels, test.images, test.labels)
        sums = registry.Checksums(*(hashlib.sha256(a.astype(np.uint8).tobytes()).hexdigest() for a in arrays))
        spec = dataclasses.replace(spec, sums=sums)
    return dataclasses.replace(spec, **changes)


def tiny_splits(spec, seed=0):
    """Random images with random labels."""
    rng = np.random.default_rng(seed)

    def split(size):
        coarse = rng.integers(0, len(spec.coarse_names), size, np.int32) if spec.coarse_names else None
        images = rng.integers(0, 256, (size, *spec.image_shape), np.uint8)
        return ArraySplit(images, rng.integers(0, len(spec.class_names), size, np.int32), coarse)

    return split(TRAIN), split(TEST)


def binary_files(name, splits):
    """Contents of the binary archive's files, by file name."""
    train, test = splits

    def records(split, start, stop):
        planes = split.images[start:stop].transpose(0, 3, 1, 2).reshape(stop - start, -1)
        columns = [c[start:stop, None] for c in (split.coarse_labels, split.labels) if c is not None]
        return np.concatenate([*columns, planes], axis=1).astype(np.uint8).tobytes()

    if name == "cifar100":
        return {"train.bin": records(train, 0, TRAIN), "test.bin": records(test, 0, TEST)}
    files = {f"data_batch_{i + 1}.bin": records(train, 10 * i, 10 * i + 10) for i in range(5)}
    return files | {"test_batch.bin": records(test, 0, TEST), "batches.meta.txt": b"airplane\n"}


def pickled_files(name, splits, dumps=None):
    """Contents of the Python archive's files, pickled as Python 2 did unless told otherwise."""
    train, test = splits
    dumps = dumps or python2_dumps

    def batch(split, start, stop):
        content = {"data": split.images[start:stop].transpose(0, 3, 1, 2).reshape(stop - start, -1).copy()}
        keys = ("labels",) if split.coarse_labels is None else ("fine_labels", "coarse_labels")
        for key, labels in zip(keys, (split.labels, split.coarse_labels), strict=False):
            content[key] = labels[start:stop].tolist()
        return dumps(content | {"batch_label": "a batch"})

    if name == "cifar100":
        return {"train": batch(train, 0, TRAIN), "test": batch(test, 0, TEST)}
    files = {f"data_batch_{i + 1}": batch(train, 10 * i, 10 * i + 10) for i in range(5)}
    return files | {"test_batch": batch(test, 0, TEST), "batches.meta": dumps({"label_names": ["airplane"]})}


class _Python2Pickler(pickle._Pickler):
    """Writes str and bytes as Python 2 wrote its byte strings, and NumPy under its old name."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_string(self, text):
        data = text.encode("latin1") if isinstance(text, str) else text
        if len(data) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(data)]) + data)
        else:
            self.write(pickle.BINSTRING + len(data).to_bytes(4, "little") + data)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_string

    def save_global(self, obj, name=None):
        if getattr(obj, "__name__", "") == "_reconstruct":
            self.write(pickle.GLOBAL + b"numpy.core.multiarray\n_reconstruct\n")
            self.memoize(obj)
        else:
            super().save_global(obj, name)

    dispatch[type(_ := lambda: None)] = save_global
    dispatch[type(np.zeros(0).__reduce__()[0])] = save_global


def python2_dumps(content):
    """Pickles with protocol 2, in the opcodes that Python 2 used for strings."""
    file = io.BytesIO()
    _Python2Pickler(file, 2).dump(content)
    return file.getvalue()


def write_tar(path, files, folder="batches"):
    """Writes a .tar.gz of files in one folder."""
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}" if folder else name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def write_folder(path, files):
    """Writes files into a folder."""
    path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


def idx(array):
    """An array of bytes in IDX form."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def mnist_files(splits):
    """The four IDX files, by name."""
    files = {}
    for part, split in zip(("train", "t10k"), splits, strict=True):
        files[f"{part}-images-idx3-ubyte"] = idx(split.images[..., 0])
        files[f"{part}-labels-idx1-ubyte"] = idx(split.labels)
    return files


def assert_same(dataset, splits):
    """Asserts that a data set holds exactly these splits, in their order."""
    assert_same_splits((dataset.train, dataset.test), splits)


def assert_same_splits(found, splits):
    """Asserts that these are exactly those splits, in their order."""
    for got, wanted in zip(found, splits, strict=True):
        assert got.images.dtype == np.uint8
        assert got.labels.dtype == np.int32
        np.testing.assert_array_equal(got.images, wanted.images)
        np.testing.assert_array_equal(got.labels, wanted.labels)
        if wanted.coarse_labels is not None:
            np.testing.assert_array_equal(got.coarse_labels, wanted.coarse_labels)


class Recorder:
    """A reporter that remembers."""

    def __init__(self):
        self.lines = []
        self.progressed = {}

    def line(self, text):
        assert "\n" not in text
        self.lines.append(text)

    @contextlib.contextmanager
    def progress(self, description, total):
        def advance(n):
            self.progressed[description] = self.progressed.get(description, 0) + n

        yield advance
