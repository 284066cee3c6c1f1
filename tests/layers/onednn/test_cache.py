"""The cache of compiled extensions survives damage and several processes."""

import logging
import os
import time
from pathlib import Path

import pytest

from jax_resnet.layers.onednn import build, cache
from jax_resnet.layers.onednn.library import load
from tests.layers.onednn.programs import CONVOLVE, run_python

CONTENT = bytes(range(256)) * 100


@pytest.fixture
def kept(tmp_path):
    """An extension in a cache, under the key "key"."""
    fresh = tmp_path / "extension.so"
    fresh.write_bytes(CONTENT)
    return cache.keep(fresh, tmp_path, "key")


def damage(path, how):
    content = path.read_bytes()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "longer":
        path.write_bytes(content + b"\0")
    elif how == "flipped":
        path.write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
    elif how == "zeroed":
        path.write_bytes(bytes(len(content)))
    elif how == "no checksum":
        path.rename(path.with_name("key.so"))
    elif how == "another checksum":
        path.rename(path.with_name(f"key-{'0' * 32}.so"))
    else:
        path.unlink()
        path.mkdir()


def test_an_intact_extension_is_found_under_its_key_only(kept, tmp_path):
    assert cache.find(tmp_path, "key") == kept
    assert kept.read_bytes() == CONTENT
    assert cache.find(tmp_path, "another") is None
    assert sorted(tmp_path.iterdir()) == [kept]


@pytest.mark.parametrize(
    "how", ["empty", "truncated", "longer", "flipped", "zeroed", "no checksum", "another checksum", "folder"]
)
def test_a_damaged_extension_is_not_used_and_named(kept, tmp_path, how, caplog):
    damage(kept, how)
    with caplog.at_level(logging.WARNING):
        assert cache.find(tmp_path, "key") is None
    (record,) = caplog.records
    assert "is damaged; compiling it again" in record.getMessage()
    if how != "folder":
        assert list(tmp_path.iterdir()) == []


def test_an_intact_extension_is_found_beside_a_damaged_one(kept, tmp_path):
    (tmp_path / f"key-{'0' * 32}.so").write_bytes(b"damaged")
    assert cache.find(tmp_path, "key") == kept


def test_an_extension_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append("fsync"), fsync(fd)))
    monkeypatch.setattr(Path, "replace", lambda *args: (events.append("named"), replace(*args)))
    fresh = tmp_path / "extension.so"
    fresh.write_bytes(CONTENT)
    cache.keep(fresh, tmp_path, "key")
    assert events == ["fsync", "named"]


def test_folders_of_killed_builds_are_removed_after_an_hour(tmp_path):
    old, new = tmp_path / "build-old", tmp_path / "build-new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "extension.so").write_bytes(b"half")
    os.utime(old, (time.time() - 4000,) * 2)
    with cache.work_folder(tmp_path) as work:
        assert work.parent == tmp_path
    assert list(tmp_path.iterdir()) == [new]


def is_intact(path):
    return path.name == cache._name(path.name.partition("-")[0], path)


@pytest.mark.skipif(load().library is None, reason=load().reason)
@pytest.mark.parametrize(
    "how", ["truncated", *(pytest.param(how, marks=pytest.mark.slow) for how in ("flipped", "no checksum"))]
)
@pytest.mark.slow
def test_a_program_replaces_a_damaged_extension_and_says_so_in_one_line(how, tmp_path):
    good, _ = build.build()
    folder = tmp_path / "onednn"
    folder.mkdir()
    path = folder / good.name
    path.write_bytes(good.read_bytes())
    if how == "no checksum":
        path.rename(path.with_name(f"{path.name.partition('-')[0]}.so"))
    else:
        damage(path, how)
    environment = {"JAX_RESNET_CACHE": str(tmp_path), "JAX_RESNET_CONV": "auto"}
    result = run_python(CONVOLVE, **environment)
    assert result.stdout.startswith("onednn "), result.stderr
    (line,) = [line for line in result.stderr.splitlines() if "damaged" in line]
    assert line.startswith("WARNING")
    (again,) = folder.iterdir()
    assert is_intact(again)
    result = run_python(CONVOLVE, **environment)
    assert "damaged" not in result.stderr
    assert result.stdout.startswith("onednn ")
