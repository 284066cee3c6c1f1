"""Every file of a checkpoint, damaged in every way: named, passed over, and the newest good one used."""

import errno
import json

import jax.numpy as jnp
import pytest

from jax_resnet import checkpoint
from jax_resnet.checkpoint import items, manifest
from tests.checkpoint.common import (
    CONFIG,
    KINDS,
    assert_equal,
    at,
    copy,
    damage,
    files,
    largest_file,
    same,
)
from tests.helpers.fuzz import damaged_by, damages, go_on


def check_survives(run, state, name, kind):
    """A damaged newest and best checkpoint costs nothing else, and is never read wrongly."""
    broken = run / "checkpoints" / "2"
    damage(broken / name, kind)
    harmless = str(name) == manifest.NAME and kind == "missing"  # it is verified by reading it whole
    step = 2 if harmless else 1

    passed_over = {}
    restored = checkpoint.restore(run, on_broken=passed_over.__setitem__)
    assert same(restored.variables, at(state, step).variables)
    assert restored.config == CONFIG
    assert set(passed_over) == ({2} if step == 1 else set())
    if step == 1:
        with pytest.raises(checkpoint.CheckpointError) as error:
            checkpoint.restore(run, 2)
        assert "checkpoints/2" in str(error.value)
        assert "\n" not in str(error.value)

    checkpointer = checkpoint.Checkpointer(run)
    assert checkpointer.steps() == [1, 2]
    assert set(checkpointer.damaged()) == set(passed_over)
    passed_over.clear()
    resumed = checkpointer.restore(state, on_broken=passed_over.__setitem__)
    assert set(passed_over) == ({2} if step == 1 else set())
    assert int(resumed.step) == step
    assert same(resumed.replace(key=0), at(state, step).replace(key=0))
    assert checkpointer.position(step) == {"examples": step}
    assert checkpointer.steps() == list(range(1, step + 1))
    checkpointer.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_passed_over(two, state, tmp_path, kind):
    names = files(two / "checkpoints" / "2")
    offset = KINDS.index(kind)
    for i, name in enumerate(names):
        if (i + offset) % len(KINDS) == 0:
            check_survives(copy(two, tmp_path / str(i)), state, name, kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_file_damaged_in_every_way_is_passed_over(two, state, tmp_path, kind):
    for i, name in enumerate(files(two / "checkpoints" / "2")):
        check_survives(copy(two, tmp_path / str(i)), state, name, kind)


@pytest.fixture
def broken(two, tmp_path):
    """A copy of the run of two checkpoints, to damage."""
    return copy(two, tmp_path / "run")


def test_without_checksums_a_checkpoint_is_read_whole_before_it_gets_some(broken, state):
    for step in (1, 2):
        (broken / "checkpoints" / str(step) / manifest.NAME).unlink()
    damage(largest_file(broken / "checkpoints" / "2" / "state"), "truncated")
    passed_over = {}
    restored = checkpoint.restore(broken, on_broken=passed_over.__setitem__)
    assert same(restored.variables, at(state, 1).variables)
    assert set(passed_over) == {2}
    assert not any((broken / "checkpoints" / str(step) / manifest.NAME).exists() for step in (1, 2))

    with checkpoint.Checkpointer(broken) as checkpointer:
        assert set(checkpointer.damaged()) == {2}
    assert (broken / "checkpoints" / "1" / manifest.NAME).exists()
    assert not (broken / "checkpoints" / "2" / manifest.NAME).exists()


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"state/_METADATA": [1]}', b'{"../../x": [1, 2]}', b"NaN"]
)
def test_a_hostile_list_of_checksums_certifies_nothing(broken, state, content):
    (broken / "checkpoints" / "2" / manifest.NAME).write_bytes(content)
    with checkpoint.Checkpointer(broken) as checkpointer:
        assert set(checkpointer.damaged()) == {2}
        assert int(checkpointer.restore(state).step) == 1


@pytest.mark.slow
def test_a_minute_of_damage_to_the_list_of_checksums(two, tmp_path):
    folder = copy(two, tmp_path / "run") / "checkpoints" / "2"
    whole = (folder / manifest.NAME).read_bytes()
    listed = json.loads(whole).items()
    needed = {(name, *entry) for name, entry in listed if "/" in name and not name.startswith("metrics/")}

    def check(changes):
        content = damaged_by(whole, changes)
        (folder / manifest.NAME).write_bytes(content)
        trouble = manifest.damage(folder)
        assert "\n" not in trouble
        if not trouble:  # it still vouches for every file of the items
            assert needed <= {(name, *map(int, entry)) for name, entry in json.loads(content).items()}

    go_on(check, changes=damages())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["_CHECKPOINT_METADATA", "config/metadata", "metrics/metrics", "state/_METADATA"]
)
def test_a_minute_of_damage_without_checksums(two, tmp_path, name):
    folder = copy(two, tmp_path / "run") / "checkpoints" / "2"
    (folder / manifest.NAME).unlink()
    whole = (folder / name).read_bytes()

    def check(changes):
        (folder / name).write_bytes(damaged_by(whole, changes))
        assert "\n" not in items.read_whole(folder)
        message = ""
        try:
            checkpoint.restore(folder)
        except checkpoint.CheckpointError as error:
            message = str(error)
        assert "\n" not in message

    go_on(check, seconds=15, changes=damages())


def test_what_cannot_be_read_this_time_is_set_aside_and_not_lost(run, state, monkeypatch):
    describe, newest = manifest._describe, run / "checkpoints" / "5"

    def failing(file, sync=False):
        if newest in file.parents:
            raise OSError(errno.EIO, "Input/output error", str(file))
        return describe(file, sync)

    monkeypatch.setattr(manifest, "_describe", failing)
    passed_over = {}
    with checkpoint.Checkpointer(run) as checkpointer:
        assert int(checkpointer.restore(state, on_broken=passed_over.__setitem__).step) == 4
        assert set(passed_over) == {5}
        assert passed_over[5].endswith("cannot be read: Input/output error")
        assert checkpointer.steps() == [2, 4]
        monkeypatch.undo()
        assert manifest.damage(newest.with_name("5.unreadable")) == ""
        checkpointer.save(at(state, 5), CONFIG, 0.65)
    assert_equal(checkpoint.restore(run, "last").variables, at(state, 5).variables)


def test_setting_aside_reads_nothing_that_is_damaged(run, state, monkeypatch):
    newest = run / "checkpoints" / "5"
    (newest / manifest.NAME).write_text("[]")  # it proves nothing against the files
    damage(newest.with_name("4") / "metrics" / "metrics", "empty")
    with checkpoint.Checkpointer(run) as checkpointer:
        assert int(checkpointer.restore(state).step) == 2
        assert checkpointer.steps() == [2]
    assert {entry.name for entry in newest.parent.iterdir()} == {"2", "5.unreadable"}


def test_what_is_whole_but_does_not_fit_is_refused_and_nothing_is_deleted(run, state):
    with checkpoint.Checkpointer(run) as checkpointer:
        with pytest.raises(checkpoint.CheckpointError, match=r"checkpoints/5 is whole, but cannot be"):
            checkpointer.restore(state.replace(params={"another": jnp.zeros(3)}))
        assert checkpointer.steps() == [2, 4, 5]


def test_files_of_the_operating_system_are_no_damage(run):
    folder = run / "checkpoints" / "5"
    for name in (".DS_Store", "._metadata", ".nfs0001", "Thumbs.db"):
        (folder / "state" / name).write_bytes(b"x")
    assert manifest.damage(folder) == ""
    (folder / "state" / "more").write_bytes(b"x")
    assert manifest.damage(folder) == "manifest.json does not list state/more"


def test_a_lost_best_checkpoint_is_named_and_the_newest_used(run, state):
    damage(run / "checkpoints" / "2" / "metrics" / "metrics", "empty")
    with pytest.warns(checkpoint.CheckpointWarning, match=r"checkpoint 2 is passed .*step 5 is restored"):
        restored = checkpoint.restore(run)
    assert_equal(restored.variables, at(state, 5).variables)


def test_a_damaged_newest_checkpoint_does_not_cost_the_best(run, state):
    damage(largest_file(run / "checkpoints" / "5" / "state"), "bit-flipped")
    assert_equal(checkpoint.restore(run).variables, at(state, 2).variables)  # without a warning
    damage(run / "checkpoints" / "4" / "metrics" / "metrics", "list")
    with pytest.warns(checkpoint.CheckpointWarning, match="checkpoint 4 is passed over"):
        restored = checkpoint.restore(run)
    assert_equal(restored.variables, at(state, 2).variables)


def test_a_damaged_checkpoint_no_longer_counts_as_the_best(run, state):
    damage(largest_file(run / "checkpoints" / "2" / "state"), "bit-flipped")
    with checkpoint.Checkpointer(run) as checkpointer:
        assert set(checkpointer.damaged()) == {2}
        for step, accuracy in ((6, 0.6), (7, 0.6)):
            checkpointer.save(at(state, step), CONFIG, accuracy)
        checkpointer.wait()
        assert checkpointer.steps() == [4, 6, 7]


def test_a_config_is_read_from_a_checkpoint(broken):
    with checkpoint.Checkpointer(broken) as checkpointer:
        assert checkpointer.config(2) == CONFIG
        damage(broken / "checkpoints" / "2" / "config" / "metadata", "list")
        with pytest.raises(checkpoint.CheckpointError, match="2: config/metadata is not a JSON object"):
            checkpointer.config(2)


def test_if_all_are_damaged_the_error_says_so(run):
    for step in (2, 4, 5):
        damage(largest_file(run / "checkpoints" / str(step) / "state"), "empty")
    with pytest.raises(checkpoint.CheckpointError, match=r"none of the checkpoints \[2, 4, 5\] can be read"):
        checkpoint.restore(run)


CONFIGS = [
    "[1]",
    "{}",
    '{"model": 3}',
    '{"model": {}}',
    '{"model": {"name": 7}}',
    '{"model": {"name": "resnt8"}}',
    '{"model": {"name": "resnet2000000"}}',
    '{"model": {"name": "resnet14"}}',
    '{"model": {"name": "resnet8", "num_classes": 100}}',
    '{"model": {"name": "resnet8", "num_classes": "ten"}}',
    '{"model": {"name": "resnet8", "widths": "wide"}}',
    '{"model": {"name": "resnet8", "stage_sizes": [1000000000, 1, 1]}}',
    '{"model": {"name": "resnet8", "stage_sizes": {"a": 1}}}',
    '{"model": {"name": "resnet8", "no_such_option": 1}}',
    "[" * 100_000,
    '{"model": NaN}',
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config[:50])
@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.slow
def test_a_strange_config_is_one_error(broken, state, config, listed):
    folder = broken / "checkpoints" / "2"
    (folder / "config" / "metadata").write_text(config)
    (folder / manifest.NAME).unlink()
    if listed:
        manifest.write(folder)
    with pytest.raises(checkpoint.CheckpointError, match="checkpoints/2") as error:
        checkpoint.restore(broken, 2)
    assert "\n" not in str(error.value)
    with pytest.warns(checkpoint.CheckpointWarning, match="checkpoint 2 is passed over"):
        assert_equal(checkpoint.restore(broken).variables, at(state, 1).variables)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_export_is_one_error(tmp_path, state, kind):
    checkpoint.save(tmp_path / "good", state.variables, CONFIG)
    for i, name in enumerate(files(tmp_path / "good")):
        if (i + KINDS.index(kind)) % len(KINDS):
            continue
        folder = copy(tmp_path / "good", tmp_path / str(i))
        damage(folder / name, kind)
        if str(name) == manifest.NAME and kind == "missing":
            assert_equal(checkpoint.restore(folder).variables, state.variables)
            continue
        with pytest.raises(checkpoint.CheckpointError) as error:
            checkpoint.restore(folder)
        assert "\n" not in str(error.value)


def test_strange_names_beside_the_checkpoints_are_left_alone(broken, state):
    folder = broken / "checkpoints"
    for name in ("²", "-1", "01", "x", "3.txt", ".DS_Store"):
        (folder / name).mkdir()
    (folder / "9").write_text("a file")
    assert_equal(checkpoint.restore(broken, "last").variables, at(state, 2).variables)
    with checkpoint.Checkpointer(broken) as checkpointer:
        assert checkpointer.damaged() == {}
        assert int(checkpointer.restore(state).step) == 2
