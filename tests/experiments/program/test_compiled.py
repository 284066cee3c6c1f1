"""Compiled programs are handed on whole, and damaged ones to nobody."""

import json
import os
import subprocess
import sys
import time

import pytest

from experiments.program import compiled
from experiments.program.compiled import CompiledPrograms


def add(programs, name, content):
    (programs.work / name).write_bytes(content)


def kept(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file())


@pytest.fixture
def folder(tmp_path):
    """A folder with two programs of an earlier process."""
    before = CompiledPrograms(tmp_path / "compiled" / "key")
    add(before, "a-cache", b"program a" * 100)
    add(before, "b-cache", b"program b" * 100)
    before.close()
    assert [name.split(".")[0] for name in kept(before.folder)] == ["a-cache", "b-cache"]
    assert len(list(before.folder.iterdir())) == 2
    return before.folder


def test_a_process_gets_what_earlier_ones_have_compiled(folder):
    programs = CompiledPrograms(folder)
    assert (programs.work / "a-cache").read_bytes() == b"program a" * 100
    add(programs, "c-cache", b"program c")
    programs.publish()
    other = CompiledPrograms(folder)
    assert kept(other.work) == ["a-cache", "b-cache", "c-cache"]
    programs.close()
    assert kept(other.work) == ["a-cache", "b-cache", "c-cache"]
    other.close()
    assert len(kept(folder)) == 3


@pytest.mark.parametrize("kind", ["empty", "truncated", "flipped"])
def test_a_damaged_program_is_removed_and_handed_to_nobody(folder, kind):
    file = next(folder.glob("a-cache.*"))
    content = file.read_bytes()
    flipped = bytes([content[0] ^ 1]) + content[1:]
    file.write_bytes({"empty": b"", "truncated": content[:100], "flipped": flipped}[kind])
    programs = CompiledPrograms(folder)
    assert kept(programs.work) == ["b-cache"]
    assert len(kept(folder)) == 1
    programs.close()


def test_other_files_are_somebodys(folder):
    others = {"thesis.tex", "a-cache", "notes.deadbeef", ".hidden"}
    for name in others:
        (folder / name).write_text("not ours")
    (folder / "project").mkdir()
    (folder / "project" / "results.csv").write_text("1")
    CompiledPrograms(folder).close()
    compiled.make_room(folder, 0)
    compiled.make_room(folder.parent, 0)
    assert set(kept(folder)) == others
    assert (folder / "project" / "results.csv").exists()


def test_a_killed_process_leaves_its_folder_for_a_week(folder):
    killed = CompiledPrograms(folder).work
    CompiledPrograms(folder).close()
    assert killed.exists()
    week_ago = time.time() - 8 * 24 * 3600
    os.utime(killed, (week_ago, week_ago))
    CompiledPrograms(folder).close()
    assert not killed.exists()
    assert len(kept(folder)) == 2


def test_the_oldest_programs_make_room(folder):
    now = time.time()
    for age, name in enumerate("ba"):
        os.utime(next(folder.glob(f"{name}-cache.*")), (now - 100 * age, now - 100 * age))
    compiled.make_room(folder.parent, 1000)
    assert [name[0] for name in kept(folder)] == ["b"]


PROGRAM = """
import json, sys, logging
from experiments.program.compiled import keep_compiled, store_compiled
keep_compiled(sys.argv[1])
import jax, jax.numpy as jnp
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name.rpartition("/")[2]))
answer = jax.jit(lambda x: jnp.sort(jnp.sin(x) @ x.T, axis=0).sum())(jnp.ones((50, 50)))
store_compiled()
print(json.dumps([float(answer), hits.count("cache_hits"), hits.count("cache_misses")]))
"""


def start(folder, **environment):
    environment = {name: v for name, v in os.environ.items() if not name.startswith("JAX_")} | environment
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)], capture_output=True, text=True, env=environment
    )
    assert process.returncode == 0, process.stderr
    assert not process.stderr, process.stderr
    return json.loads(process.stdout)


def test_the_second_start_compiles_nothing(tmp_path):
    answer, hits, misses = start(tmp_path / "kept")
    assert (hits, misses > 0) == (0, True)
    found = start(tmp_path / "kept")
    assert found[0] == answer
    assert found[1] >= 1
    for file in (tmp_path / "kept").rglob("*-cache.*"):
        file.write_bytes(file.read_bytes()[:-9] + b"\0" * 9)
    assert start(tmp_path / "kept")[:2] == [answer, 0]


@pytest.mark.parametrize("where", ["auto", "off"])
def test_a_home_that_cannot_be_written_only_costs_time(tmp_path, where):
    (tmp_path / "file").write_text("no folder")
    assert start(where, JAX_RESNET_CACHE=str(tmp_path / "file"))[1] == 0


def test_a_folder_that_was_asked_for_must_be_one(tmp_path):
    (tmp_path / "file").write_text("no folder")
    command = ["experiments.cifar10", "--dataset", "digits", "--arch", "resnet8", "--max-steps", "1"]
    process = subprocess.run(
        [
            sys.executable,
            "-m",
            *command,
            "--workdir",
            tmp_path / "run",
            "--compilation-cache",
            tmp_path / "file" / "x",
        ],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("JAX_")},
    )
    assert process.returncode == 2
    assert process.stderr.splitlines()[-1].endswith(
        "file/x: Not a directory; name a folder that can be written, or off"
    )
    assert len(process.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()
