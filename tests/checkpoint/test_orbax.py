"""Plain orbax, of either API, reads the weights from every checkpoint; old checkpoints stay readable."""

import jax
import orbax.checkpoint as ocp
import pytest

from jax_resnet import checkpoint
from jax_resnet.checkpoint import manifest
from tests.checkpoint.common import CONFIG, assert_equal, at


def save_old_layout(run, state, accuracy, with_manifest=False):
    """A checkpoint as the first versions wrote it: weights called ``variables``, no note of the key."""
    step = int(state.step)
    training = {"step": state.step, "opt_state": state.opt_state, "key": jax.random.key_data(state.key)}
    options = ocp.CheckpointManagerOptions(best_fn=lambda metrics: metrics["accuracy"])
    with ocp.CheckpointManager(run / "checkpoints", options=options) as manager:
        manager.save(
            step,
            args=ocp.args.Composite(
                variables=ocp.args.StandardSave(state.variables),
                training=ocp.args.StandardSave(training),
                config=ocp.args.JsonSave(CONFIG),
            ),
            metrics={"accuracy": accuracy, "step": step},
        )
    if with_manifest:
        manifest.write(run / "checkpoints" / str(step))


@pytest.fixture(params=["a step of a run", "an exported checkpoint"])
def saved(request, two, tmp_path, state):
    """A checkpoint's folder, and the weights in it."""
    if request.param == "a step of a run":
        return two / "checkpoints" / "2", at(state, 2).variables
    checkpoint.save(tmp_path / "exported", state.variables, CONFIG)
    return tmp_path / "exported", state.variables


def test_v1_load_gives_the_weights(saved):
    folder, expected = saved
    with pytest.warns(UserWarning, match="[Ss]harding"):
        assert_equal(ocp.v1.load(folder), expected)


def test_v1_load_onto_given_shapes_gives_the_weights(saved):
    folder, expected = saved
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), expected)
    assert_equal(ocp.v1.load(folder, like), expected)


def test_v1_metadata_is_that_of_the_weights(saved):
    folder, expected = saved
    shapes = jax.tree.map(lambda x: x.shape, ocp.v1.metadata(folder).metadata)
    assert dict(shapes) == jax.tree.map(lambda x: x.shape, expected)


def test_v0_standard_checkpointer_gives_the_weights(saved):
    folder, expected = saved
    assert_equal(ocp.StandardCheckpointer().restore(folder / "state"), expected)


def test_v1_training_checkpointer_opens_a_runs_folder(two, state):
    with ocp.v1.training.Checkpointer(two / "checkpoints") as run:
        like = at(state, 1).variables
        assert_equal(run.load(1, like), at(state, 1).variables)
        assert_equal(run.load(abstract_state=like), at(state, 2).variables)


def test_v0_manager_opens_a_runs_folder(two, state):
    with ocp.CheckpointManager(two / "checkpoints") as run:
        items = run.restore(run.latest_step(), args=ocp.args.Composite(state=ocp.args.StandardRestore()))
    assert_equal(items["state"], at(state, 2).variables)


@pytest.mark.parametrize("with_manifest", [False, True])
def test_checkpoints_with_the_old_item_name_are_read(tmp_path, state, with_manifest):
    save_old_layout(tmp_path, at(state, 1), 0.9, with_manifest)
    save_old_layout(tmp_path, at(state, 2), 0.6, with_manifest)
    assert_equal(checkpoint.restore(tmp_path).variables, at(state, 1).variables)
    assert_equal(checkpoint.restore(tmp_path / "checkpoints" / "2").variables, at(state, 2).variables)
    with checkpoint.Checkpointer(tmp_path) as checkpointer:
        assert checkpointer.damaged() == {}
        restored = checkpointer.restore(state)
        assert_equal(restored.replace(key=0), at(state, 2).replace(key=0))
        assert restored.key == state.key
        for step in (3, 4):
            checkpointer.save(at(state, step), CONFIG, 0.5)
        checkpointer.wait()
        assert checkpointer.steps() == [1, 3, 4]  # the old one is still the best
    assert_equal(checkpoint.restore(tmp_path).variables, at(state, 1).variables)


def test_v1_reads_the_old_item_by_its_name(tmp_path, state):
    save_old_layout(tmp_path, at(state, 1), 0.9)
    like = at(state, 1).variables
    loaded = ocp.v1.load(tmp_path / "checkpoints" / "1", like, checkpointable_name="variables")
    assert_equal(loaded, at(state, 1).variables)
