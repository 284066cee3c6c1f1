"""What is not saved, what a failed or killed save leaves behind, and how keys are kept."""

import contextlib
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from jax_resnet import checkpoint
from jax_resnet.checkpoint import manifest
from tests.checkpoint.common import CONFIG, assert_equal, at, copy


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", ["params", "batch_stats", "average"])
def test_a_state_that_is_not_finite_is_not_saved(tmp_path, state, part, value):
    good = state.averaging() if part == "average" else state
    leaves, structure = jax.tree.flatten(getattr(good, part))
    leaves[3] = leaves[3].at[0].set(value)
    bad = good.replace(**{part: jax.tree.unflatten(structure, leaves)})
    with checkpoint.Checkpointer(tmp_path) as checkpointer:
        with pytest.raises(
            checkpoint.NonFiniteError, match=f"step 0 is not saved: {part}/.* holds NaN"
        ) as error:
            checkpointer.save(bad, CONFIG)
        assert error.value.leaf.startswith(f"{part}/")
        assert error.value.step == 0
        assert checkpointer.steps() == []
        checkpointer.save(good, CONFIG)
        assert checkpointer.steps() == [0]


def test_weights_that_are_not_finite_are_not_exported(tmp_path, state):
    bad = jax.tree.map(lambda p: p * jnp.nan, state.variables)
    with pytest.raises(checkpoint.NonFiniteError, match="holds NaN or infinity"):
        checkpoint.save(tmp_path / "exported", bad, CONFIG)
    assert not (tmp_path / "exported").exists()


@pytest.mark.parametrize("config", [{"model": {"name": "resnet8"}, "x": float("nan")}, {"x": object()}])
def test_a_config_that_is_no_json_is_not_saved(tmp_path, state, config):
    with checkpoint.Checkpointer(tmp_path) as checkpointer:
        with pytest.raises(checkpoint.CheckpointError, match="config cannot be saved as JSON"):
            checkpointer.save(state, config)
        assert checkpointer.steps() == []
    with pytest.raises(checkpoint.CheckpointError, match="config cannot be saved as JSON"):
        checkpoint.save(tmp_path / "exported", state.variables, config)


def test_an_earlier_step_is_refused_by_name(two, state, tmp_path):
    with checkpoint.Checkpointer(copy(two, tmp_path / "run")) as checkpointer:
        checkpointer.save(at(state, 5), CONFIG)
        with pytest.raises(checkpoint.CheckpointError, match=r"step 3 is not saved: .* step 5 already"):
            checkpointer.save(at(state, 3), CONFIG)


def test_leftovers_of_killed_saves_are_removed(two, state, tmp_path):
    run = copy(two, tmp_path / "run")
    good = run / "checkpoints" / "2"
    for name in ("3.orbax-checkpoint-tmp", "3.orbax-checkpoint-tmp-whole.orbax-checkpoint-tmp"):
        shutil.copytree(good, run / "checkpoints" / name)
    assert_equal(checkpoint.restore(run, "last").variables, at(state, 2).variables)
    assert len(list((run / "checkpoints").iterdir())) == 4  # reading a network changes nothing
    with checkpoint.Checkpointer(run) as checkpointer:
        assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["1", "2"]
        assert checkpointer.steps() == [1, 2]
        checkpointer.save(at(state, 3), CONFIG)
    assert_equal(checkpoint.restore(run, "last").variables, at(state, 3).variables)


def test_a_finished_save_has_its_checksums_at_once(tmp_path, state):
    with checkpoint.Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(state, CONFIG)
        while not (tmp_path / "checkpoints" / "0").exists():
            pass
        assert (tmp_path / "checkpoints" / "0" / "manifest.json").exists()


@pytest.mark.parametrize("files", [1, pytest.param(7, marks=pytest.mark.slow)])
def test_a_kill_during_a_deletion_leaves_whole_checkpoints_and_what_the_next_open_removes(
    tmp_path, state, files
):
    command = [sys.executable, "-m", "tests.checkpoint.deleting", str(tmp_path), str(files)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        said = process.stdout.readline()
        process.kill()
    assert said == "deleting\n"
    folder = tmp_path / "checkpoints"
    steps = [int(path.name) for path in folder.iterdir() if path.name.isdigit()]
    assert [step for step in steps if not manifest.exists(folder / str(step))] == []
    assert [step for step in steps if manifest.damage(folder / str(step))] == []
    newest = max(steps)
    assert {2, newest} <= set(steps)  # the best on validation and the newest
    assert_equal(checkpoint.restore(tmp_path, "best").variables, at(state, 2).variables)
    assert any("tmp" in path.name for path in folder.iterdir())
    broken = []
    with checkpoint.Checkpointer(tmp_path) as checkpointer:
        assert all(path.name.isdigit() for path in folder.iterdir())
        restored = checkpointer.restore(state, on_broken=lambda step, reason: broken.append(step))
        assert checkpointer.damaged() == {}
        assert_equal(restored.params, at(state, newest).params)
    assert broken == []


def test_a_deleted_checkpoint_is_gone_when_the_checkpointer_is_closed(run):
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["2", "4", "5"]


@contextlib.contextmanager
def small_files(limit):
    """No file of this process may grow beyond ``limit`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def full_disk(folder):
    """Fills the file system of ``folder``."""
    filler = folder / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    try:
        yield
    finally:
        filler.unlink()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def save_and_wait(checkpointer, state, accuracy):
    checkpointer.save(state, CONFIG, accuracy)
    checkpointer.wait()


def check_a_failed_save(run, state, shortage, reason, capfd):
    """Nothing is lost and nothing left behind when a save fails, and the next one works."""
    with checkpoint.Checkpointer(run) as checkpointer:
        for step, accuracy in ((1, 0.9), (2, 0.5), (3, 0.4)):
            checkpointer.save(at(state, step), CONFIG, accuracy)
        checkpointer.wait()
        with shortage:
            with pytest.raises(checkpoint.CheckpointError, match=reason) as error:
                save_and_wait(checkpointer, at(state, 4), 0.95)
            assert "\n" not in str(error.value)
            assert str(run) in str(error.value)
            assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["1", "2", "3"]
        assert checkpointer.steps() == [1, 2, 3]
        assert checkpointer.damaged() == {}
        assert_equal(checkpoint.restore(run).variables, at(state, 1).variables)
        checkpointer.save(at(state, 5), CONFIG, 0.6)
        checkpointer.wait()
        assert checkpointer.steps() == [1, 3, 5]
    assert "Traceback" not in capfd.readouterr().err
    assert_equal(checkpoint.restore(run, "last").variables, at(state, 5).variables)


def test_a_full_disk_is_one_error_and_loses_nothing(small_disk, state, capfd):
    check_a_failed_save(small_disk, state, full_disk(small_disk), "the disk is full: free some space", capfd)


def test_a_limit_on_files_is_one_error_and_loses_nothing(tmp_path, state, capfd):
    check_a_failed_save(tmp_path, state, small_files(100_000), "a file would be larger than allowed", capfd)


def test_a_failed_export_leaves_nothing(tmp_path, state, capfd):
    with (
        small_files(100_000),
        pytest.raises(checkpoint.CheckpointError, match="cannot be written: a file"),
    ):
        checkpoint.save(tmp_path / "exported", state.variables, CONFIG)
    assert list(tmp_path.iterdir()) == []
    checkpoint.save(tmp_path / "exported", state.variables, CONFIG)
    assert_equal(checkpoint.restore(tmp_path / "exported").variables, state.variables)
    assert "Traceback" not in capfd.readouterr().err


def test_a_file_in_the_way_is_one_error(tmp_path, state):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        checkpoint.CheckpointError, match="file/checkpoints cannot be opened: a part of the path"
    ):
        checkpoint.Checkpointer(tmp_path / "file")
    with pytest.raises(checkpoint.CheckpointError, match="cannot be written: a part of the path is a file"):
        checkpoint.save(tmp_path / "file" / "exported", state.variables, CONFIG)


@pytest.mark.parametrize("implementation", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_keys_of_every_implementation_survive(tmp_path, state, implementation):
    key = jax.random.key(7, impl=implementation)
    with checkpoint.Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(at(state, 1).replace(key=key), CONFIG)
        checkpointer.wait()
        for like in (key, state.key):
            restored = checkpointer.restore(state.replace(key=like))
            assert restored.key.dtype == key.dtype
            assert_equal(jax.random.key_data(restored.key), jax.random.key_data(key))
            assert_equal(jax.random.normal(restored.key, (3,)), jax.random.normal(key, (3,)))


def test_raw_keys_survive(tmp_path, state):
    raw = jax.random.key_data(jax.random.key(7))
    with checkpoint.Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(state.replace(key=raw), CONFIG)
        checkpointer.wait()
        assert_equal(checkpointer.restore(state.replace(key=raw * 0)).key, raw)
