import jax
import pytest

from jax_resnet import optim, train
from jax_resnet.models import create_model
from tests.checkpoint.common import save_run


@pytest.fixture(scope="session")
def state():
    model = create_model("resnet8")
    return train.create_state(model, optim.sgd(0.1), jax.random.key(3), (8, 8, 3))


@pytest.fixture
def run(tmp_path, state):
    """A folder with checkpoints of steps 1 to 5, best at 2 (and, equal, at 4)."""
    save_run(tmp_path, state, [0.5, 0.7, 0.6, 0.7, 0.65])
    return tmp_path


@pytest.fixture(scope="session")
def two(tmp_path_factory, state):
    """A run of two checkpoints, the second of them the best. Not to be written to: copy it."""
    folder = tmp_path_factory.mktemp("two")
    save_run(folder, state, [0.5, 0.7])
    return folder
