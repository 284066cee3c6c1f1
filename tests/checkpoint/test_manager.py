import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_resnet import checkpoint
from jax_resnet.errors import CheckpointError
from jax_resnet.models import create_model
from tests.checkpoint.common import CONFIG, assert_equal, at, largest_file


def test_keeps_the_last_two_and_the_best(run):
    assert checkpoint.Checkpointer(run).steps() == [2, 4, 5]


def test_restores_the_whole_state_bit_for_bit(run, state):
    restored = checkpoint.Checkpointer(run).restore(state)
    expected = at(state, 5)
    assert jax.tree.structure(restored) == jax.tree.structure(expected)
    assert_equal(restored.replace(key=0), expected.replace(key=0))
    assert restored.key == expected.key


@pytest.mark.parametrize(("which", "step"), [("best", 2), ("last", 5), (4, 4)])
def test_restore_rebuilds_network_and_variables(run, state, which, step):
    model, variables, config = checkpoint.restore(run, which)
    assert config == CONFIG
    assert_equal(variables, at(state, step).variables)
    logits = model.apply(variables, jnp.zeros((2, 8, 8, 3)), train=False)
    assert logits.shape == (2, 10)


def test_without_accuracies_the_best_is_the_last(tmp_path, state):
    checkpointer = checkpoint.Checkpointer(tmp_path)
    for step in (1, 2, 3):
        checkpointer.save(at(state, step), CONFIG)
    checkpointer.close()
    assert_equal(checkpoint.restore(tmp_path).variables, at(state, 3).variables)


def test_an_accuracy_that_comes_later_is_not_lost(tmp_path, state):
    with checkpoint.Checkpointer(tmp_path) as checkpointer:
        for step, accuracy in ((1, None), (1, 0.9), (1, None), (2, 0.3), (3, 0.4), (4, 0.5)):
            checkpointer.save(at(state, step), CONFIG, accuracy)
            checkpointer.wait()
        assert checkpointer.steps() == [1, 3, 4]
        assert checkpointer.damaged() == {}


@pytest.mark.parametrize("accuracy", [np.float32(0.5), float("nan")])
def test_a_refused_accuracy_leaves_the_checkpoint_as_it_is(tmp_path, state, accuracy):
    with checkpoint.Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(at(state, 1), CONFIG)
        checkpointer.wait()
        with pytest.raises(CheckpointError, match="accuracy"):
            checkpointer.save(at(state, 1), CONFIG, accuracy)
        assert checkpointer.damaged() == {}
    assert_equal(checkpoint.restore(tmp_path).variables, at(state, 1).variables)


def test_a_url_is_no_folder_here(tmp_path, state, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for use in (
        checkpoint.Checkpointer,
        checkpoint.restore,
        lambda path: checkpoint.save(path, state.variables, CONFIG),
    ):
        with pytest.raises(CheckpointError, match="gs://bucket/run is a URL: name a folder of this machine"):
            use("gs://bucket/run")
        with pytest.raises(CheckpointError, match="gs:/bucket/run is a URL"):
            use(Path("gs://bucket/run"))
    assert not list(tmp_path.iterdir())


def test_a_path_may_begin_with_the_home_folder(tmp_path, state, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    checkpoint.save("~/exported", state.variables, CONFIG)
    assert_equal(checkpoint.restore("~/exported").variables, state.variables)
    assert [path.name for path in tmp_path.iterdir()] == ["exported"]


def test_an_empty_folder_restores_nothing(tmp_path, state):
    assert checkpoint.Checkpointer(tmp_path).restore(state) is None


def test_a_donated_state_may_be_reused_at_once(tmp_path, state):
    # The save goes on in the background; what the next step writes into the old buffers must not reach it.
    overwrite = jax.jit(lambda s: jax.tree.map(lambda p: p * 0 - 1, s), donate_argnums=0)
    mine = jax.tree.map(jnp.copy, at(state, 1))
    expected = jax.tree.map(np.array, mine.params)
    checkpointer = checkpoint.Checkpointer(tmp_path)
    checkpointer.save(mine, CONFIG)
    overwrite(mine.params)
    checkpointer.close()
    assert_equal(checkpoint.restore(tmp_path).variables["params"], expected)


def test_a_truncated_checkpoint_is_named_and_passed_over(run, state):
    broken = largest_file(run / "checkpoints" / "5" / "state")
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(checkpoint.CheckpointError, match=r"checkpoints/5 is damaged: state/.* 100 bytes"):
        checkpoint.restore(run, "last")
    passed_over = []
    checkpointer = checkpoint.Checkpointer(run)
    restored = checkpointer.restore(state, on_broken=lambda *news: passed_over.append(news))
    assert int(restored.step) == 4
    assert passed_over[0][0] == 5
    checkpointer.save(at(state, 5), CONFIG, 0.65)
    checkpointer.close()
    assert_equal(checkpoint.restore(run, "last").variables, at(state, 5).variables)


def test_a_flipped_bit_is_found(run):
    broken = largest_file(run / "checkpoints" / "5" / "state")
    content = bytearray(broken.read_bytes())
    content[len(content) // 2] ^= 1
    broken.write_bytes(bytes(content))
    with pytest.raises(checkpoint.CheckpointError, match="other contents"):
        checkpoint.restore(run, "last")


def test_when_all_are_broken_it_says_so(run, state):
    for step in (2, 4, 5):
        largest_file(run / "checkpoints" / str(step) / "training").unlink()
    with pytest.raises(checkpoint.CheckpointError, match=r"none of the checkpoints \[2, 4, 5\] can be read"):
        checkpoint.Checkpointer(run).restore(state)


@pytest.mark.parametrize(
    ("path", "which", "message"),
    [
        ("nowhere", "best", "holds no checkpoint: name a run's folder"),
        (".", 3, "has no step 3: there are 2, 4, 5"),
        (".", "bset", "has no step 'bset'"),
    ],
)
def test_errors_say_what_there_is(run, path, which, message):
    with pytest.raises(checkpoint.CheckpointError, match=message):
        checkpoint.restore(run / path, which)


def test_a_step_may_be_text_as_a_command_line_gives_it(run):
    assert_equal(checkpoint.restore(run, "4").variables, checkpoint.restore(run, 4).variables)


def test_a_run_folder_may_be_called_checkpoints(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("other") / "checkpoints"
    shutil.copytree(run, folder)
    assert_equal(checkpoint.restore(folder).variables, checkpoint.restore(run).variables)
    inside = checkpoint.restore(folder / "checkpoints")
    assert_equal(inside.variables, checkpoint.restore(run).variables)


@pytest.mark.parametrize("config", [{}, {"name": "resnet8"}, {"model": {}}, {"model": "resnet8"}])
def test_a_config_without_a_network_is_refused_before_anything_is_written(tmp_path, state, config):
    with pytest.raises(
        checkpoint.CheckpointError, match=r'config\["model"\] has the arguments of create_model'
    ):
        checkpoint.save(tmp_path / "exported", state.variables, config)
    assert not (tmp_path / "exported").exists()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"name": "mnist_cnn"}, ""),
        ({"name": "resnet8"}, "it has 3 residual blocks, the weights are those of 0"),
    ],
)
def test_a_config_of_another_kind_of_network_is_refused(tmp_path, model, message):
    network = create_model("mnist_cnn")
    variables = network.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)), train=False)
    checkpoint.save(tmp_path / "exported", variables, {"model": model})
    if not message:
        assert_equal(checkpoint.restore(tmp_path / "exported").variables["params"], variables["params"])
        return
    with pytest.raises(checkpoint.CheckpointError, match=message):
        checkpoint.restore(tmp_path / "exported")


def test_what_a_killed_save_left_is_not_in_the_way(tmp_path, state):
    left = tmp_path / "exported.orbax-checkpoint-tmp-whole"
    (left / "state").mkdir(parents=True)
    checkpoint.save(tmp_path / "exported", state.variables, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["exported"]


def test_a_portable_checkpoint_round_trips(tmp_path, state):
    checkpoint.save(tmp_path / "exported", state.variables, CONFIG)
    restored = checkpoint.restore(tmp_path / "exported")
    assert restored.config == CONFIG
    assert_equal(restored.variables, state.variables)
    with pytest.raises(checkpoint.CheckpointError, match="exists already"):
        checkpoint.save(tmp_path / "exported", state.variables, CONFIG)
