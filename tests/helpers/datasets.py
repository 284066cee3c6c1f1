"""Small data sets in the exact layouts of the originals, and a reporter that remembers."""

import contextlib
import dataclasses
import functools
import hashlib
import http.server
import io
import json
import pickle
import tarfile
import threading
import time
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
    """Contents of the Python archive's files, pickled as Python 2 did unless `dumps` says otherwise."""
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


def png(array):
    """One image, or a strip of pixels, as the bytes of a PNG."""
    from PIL import Image  # here, for the test of what a start imports

    file = io.BytesIO()
    Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array).save(file, "png")
    return file.getvalue()


def npm_files(splits):
    """Contents of the npm package's files: PNG strips whose rows are images, and lists of labels."""
    train, test = splits

    def strip(images):
        return png(images.reshape(len(images), -1, 3))

    files = {f"data_batch_{i + 1}.png": strip(train.images[10 * i : 10 * i + 10]) for i in range(5)}
    files["test_batch.png"] = strip(test.images)
    files["train_lables.json"] = json.dumps(train.labels.tolist()).encode()
    files["test_lables.json"] = json.dumps(test.labels.tolist()).encode()
    return files


def hugging_face_files(name, splits):
    """Parquet files as on Hugging Face's hub, by file name: a column of PNGs, and one of labels."""
    import pyarrow
    from pyarrow import parquet

    files = {}
    for part, split in zip(("train", "test"), splits, strict=True):
        cells = [{"bytes": png(image), "path": f"{i}.png"} for i, image in enumerate(split.images)]
        columns = {"image" if name == "mnist" else "img": pyarrow.array(cells)}
        columns["fine_label" if name == "cifar100" else "label"] = pyarrow.array(
            split.labels, pyarrow.int64()
        )
        if split.coarse_labels is not None:
            columns["coarse_label"] = pyarrow.array(split.coarse_labels, pyarrow.int64())
        file = io.BytesIO()
        parquet.write_table(pyarrow.table(columns), file, row_group_size=30)
        files[f"{part}-00000-of-00001.parquet"] = file.getvalue()
    return files


def rows(name, splits):
    """All images of a data set as OpenML's rows of pixels, and their labels."""
    images = np.concatenate([split.images for split in splits])
    order = (0, 1, 2, 3) if name == "mnist" else (0, 3, 1, 2)
    pixels = images.transpose(order).reshape(len(images), -1)
    return pixels, np.concatenate([split.labels for split in splits])


def openml_parquet(name, splits):
    """OpenML's Parquet file: a column per pixel, and the class as text."""
    import pyarrow
    from pyarrow import parquet

    pixels, labels = rows(name, splits)
    columns = {f"a{i}": pyarrow.array(column, pyarrow.uint8()) for i, column in enumerate(pixels.T)}
    columns["class"] = pyarrow.array([str(label) for label in labels]).dictionary_encode()
    file = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


def openml_arff(name, splits):
    """OpenML's ARFF file: an attribute per pixel, and the class last."""
    pixels, labels = rows(name, splits)
    lines = ["% a comment", "@RELATION pixels", ""]
    lines += [f"@ATTRIBUTE a{i} INTEGER" for i in range(pixels.shape[1])]
    lines += ["@ATTRIBUTE class {0,1,2,3,4,5,6,7,8,9}", "", "@DATA"]
    lines += [",".join(map(str, [*row, label])) for row, label in zip(pixels, labels, strict=True)]
    return "\n".join([*lines, ""]).encode()


def _crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def tfrecord_files(name, splits):
    """TFRecord files as tensorflow-datasets prepares them, by file name: in the order of its hashed keys."""
    from tensorflow_datasets.proto import tf_example_pb2

    files = {}
    for part, split in zip(("train", "test"), splits, strict=True):
        keys = [f"{part}{i}".encode() for i in range(len(split))]
        content = b""
        for i in sorted(range(len(split)), key=lambda i: hashlib.md5(keys[i]).digest()):
            example = tf_example_pb2.Example()
            example.features.feature["image"].bytes_list.value.append(png(split.images[i]))
            example.features.feature["label"].int64_list.value.append(int(split.labels[i]))
            if split.coarse_labels is not None:
                example.features.feature["coarse_label"].int64_list.value.append(int(split.coarse_labels[i]))
            if name != "mnist":
                example.features.feature["id"].bytes_list.value.append(f"{part}_{i:05d}".encode())
            record = example.SerializeToString()
            length = len(record).to_bytes(8, "little")
            content += length + _crc32c(length) + record + b"\0\0\0\0"
        files[f"{name}-{part}.tfrecord-00000-of-00001"] = content
    return files


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files; ``/broken/`` breaks off, ``/slow/`` and ``/crawl/`` take long, ``/error/`` is a 500."""

    def log_message(self, *args):
        self.server.requests.append(self.path)

    def do_GET(self):
        if self.path.startswith("/broken/"):
            self.start(1_000_000)
            self.wfile.write(b"x" * 1000)
        elif self.path.startswith("/slow/"):
            self.start(170_000_000)
            for _ in range(100):
                self.wfile.write(b"x" * (1 << 16))
                time.sleep(0.02)
        elif self.path.startswith("/crawl/"):
            self.start(170_000_000)
            for _ in range(100):
                self.wfile.write(b"x")
                time.sleep(0.1)
        elif self.path.startswith("/error/"):
            self.send_error(500)
        else:
            super().do_GET()

    def start(self, length):
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()


class Server(http.server.ThreadingHTTPServer):
    """A web server on this machine that notes the paths it was asked for."""

    def handle_error(self, request, client_address):
        pass  # clients that give up are part of the tests


@contextlib.contextmanager
def serve(folder):
    """Serves a folder: the server has its ``folder``, ``url`` and ``requests``."""
    folder.mkdir()
    with Server(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as server:
        server.requests, server.folder = [], folder
        server.url = f"http://127.0.0.1:{server.server_address[1]}/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
