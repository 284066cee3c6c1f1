"""Bounded fuzzing of every reader of weights: a result, or one line; nothing else, in bounded time."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jax_resnet.convert import read_state_dict
from jax_resnet.errors import WeightsError

FAST = settings(
    max_examples=60, deadline=60_000, suppress_health_check=list(HealthCheck), database=None, derandomize=True
)
SLOW = settings(max_examples=12_000, deadline=60_000, suppress_health_check=list(HealthCheck), database=None)

NAMES = st.sampled_from(["conv1.weight", "fc.bias", "model", "", "__metadata__", "\x00", "a" * 300])
NUMBERS = st.one_of(
    st.integers(-3, 40), st.sampled_from([2**31, 2**32, 2**53, 2**60, 2**63, 2**64, 2**200, -(2**63)])
)
DTYPES = st.sampled_from(["F32", "F64", "F16", "BF16", "F8_E4M3", "I64", "U8", "C64", "X", "", 3, None])
JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=8,
)
TENSOR = st.fixed_dictionaries(
    {
        "dtype": DTYPES,
        "shape": st.one_of(st.lists(NUMBERS, max_size=5), JUNK),
        "data_offsets": st.one_of(st.lists(NUMBERS, min_size=2, max_size=2), JUNK),
    }
)
HEADERS = st.one_of(st.dictionaries(NAMES, st.one_of(TENSOR, JUNK), max_size=4), JUNK)
LENGTHS = st.one_of(st.just(None), st.sampled_from([0, 1, 7, 100, 2**31, 2**32, 2**60, 2**63, 2**64 - 1]))


def assert_reads_or_refuses(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    message, found = "", {}
    try:
        found = read_state_dict(path)
    except WeightsError as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) < 2000
    assert all(isinstance(name, str) for name in found)
    assert all(array.dtype in (np.float32, np.float64) for array in found.values())
    assert sum(array.nbytes for array in found.values()) <= 8 * len(content)


def safetensors_file(header: Any, length: int | None, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def damages() -> st.SearchStrategy[Callable[[bytes], bytes]]:
    """Cuts, overwrites, inserts and repeats parts of a file."""

    def damage(where: float, kind: str, junk: bytes, count: int) -> Callable[[bytes], bytes]:
        def apply(content: bytes) -> bytes:
            at = int(where * len(content))
            return {
                "cut": content[:at],
                "overwrite": content[:at] + junk + content[at + len(junk) :],
                "insert": content[:at] + junk + content[at:],
                "delete": content[:at] + content[at + count :],
                "repeat": content[:at] + content[at : at + count] * 3 + content[at + count :],
            }[kind]

        return apply

    kinds = st.sampled_from(["cut", "overwrite", "insert", "delete", "repeat"])
    return st.builds(
        damage, st.floats(0, 0.999), kinds, st.binary(min_size=1, max_size=9), st.integers(1, 64)
    )


def whole_files() -> dict[str, bytes]:
    """A small file of each kind that is read."""
    import torch

    content = {"model": {"conv1.weight": torch.ones(2, 3), "fc.bias": torch.ones(2)}, "epoch": 3}
    files = {
        "safetensors": safetensors_file(
            {"conv1.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}, None, bytes(16)
        )
    }
    for name, zipped in (("zip", True), ("old", False)):
        buffer = io.BytesIO()
        torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
        files[name] = buffer.getvalue()
    return files


def fuzz_headers(path: Path, limits: settings) -> None:
    @limits
    @given(header=HEADERS, length=LENGTHS, data=st.binary(max_size=64))
    def check(header: Any, length: int | None, data: bytes) -> None:
        assert_reads_or_refuses(path, safetensors_file(header, length, data))

    check()


def fuzz_damage(path: Path, content: bytes, limits: settings) -> None:
    @limits
    @given(st.lists(damages(), min_size=1, max_size=3))
    def check(changes: list[Callable[[bytes], bytes]]) -> None:
        damaged = content
        for change in changes:
            damaged = change(damaged)
        assert_reads_or_refuses(path, damaged)

    check()


def fuzz_pickles(path: Path, limits: settings) -> None:
    """Streams of pickle operations, which know PyTorch's and harmful names, in a file of the old kind."""
    names = [
        *("torch._utils\n_rebuild_tensor_v2", "torch\nFloatStorage", "collections\nOrderedDict"),
        *(
            "builtins\nbytearray",
            "builtins\nset",
            "os\nsystem",
            "torch\nSize",
            "torch.nn.parameter\nParameter",
        ),
        *(
            "torch\nFloatTensor",
            "numpy\nndarray",
            "builtins\neval",
            "_codecs\nencode",
            "torch.serialization\nx",
        ),
    ]
    operations = st.one_of(
        st.sampled_from([f"c{name}\n".encode() for name in names]),
        st.sampled_from([bytes([code]) for code in b"(lt)]}0.QRbaeusd\x81\x85\x86\x87\x88\x89N2"]),
        st.integers(-(2**31), 2**31 - 1).map(lambda n: b"J" + n.to_bytes(4, "little", signed=True)),
        st.integers(0, 2**32 - 1).map(lambda n: b"X" + n.to_bytes(4, "little") + b"conv1.weight"),
        st.sampled_from([b"X\x0c\x00\x00\x00conv1.weight", b"q\x00", b"h\x00", b"r\xff\xff\xff\xff"]),
        st.binary(min_size=1, max_size=4),
    )

    @limits
    @given(st.lists(operations, max_size=30))
    def check(parts: list[bytes]) -> None:
        magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}."
        assert_reads_or_refuses(path, magic + b"\x80\x02" + b"".join(parts) + b".\x80\x02].")

    check()


def test_headers_of_safetensors(tmp_path: Path) -> None:
    fuzz_headers(tmp_path / "a.safetensors", FAST)


@pytest.mark.parametrize("kind", ["safetensors", "zip", "old"])
def test_damaged_files(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="writes PyTorch files, and PyTorch is not installed")
    suffix = "safetensors" if kind == "safetensors" else "pth"
    fuzz_damage(tmp_path / f"a.{suffix}", whole_files()[kind], FAST)


def test_hostile_pickles(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="reads PyTorch files, and PyTorch is not installed")
    fuzz_pickles(tmp_path / "a.pth", FAST)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["headers", "safetensors", "zip", "old", "pickles"])
def test_each_reader_for_a_minute(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="reads PyTorch files, and PyTorch is not installed")
    path = tmp_path / ("a.safetensors" if kind in ("headers", "safetensors") else "a.pth")
    if kind == "headers":
        fuzz_headers(path, SLOW)
    elif kind == "pickles":
        fuzz_pickles(path, SLOW)
    else:
        fuzz_damage(path, whole_files()[kind], SLOW)
