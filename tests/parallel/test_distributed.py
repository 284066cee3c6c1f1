import jax
import numpy as np
import pytest

from jax_resnet import parallel
from jax_resnet.parallel import distributed


def test_where_nobody_listens_it_says_so(monkeypatch):
    monkeypatch.setattr(distributed, "STARTING", 0.3)
    with pytest.raises(RuntimeError, match="process 0 does not answer there"):
        parallel.initialize("localhost:1", 2, 1)
    assert not jax.distributed.is_initialized()


def test_alone_everybody_agrees_at_once():
    votes = np.array([15, 0])
    np.testing.assert_array_equal(parallel.process_max(parallel.data_mesh())(votes), votes)
    assert parallel.broadcast_from_primary(lambda: [1, "two"]) == [1, "two"]
    assert parallel.process_shard() == (0, 1)


def test_alone_nobody_can_be_lost():
    assert not parallel.lost_process(RuntimeError("Gloo all-reduce failed: connection closed by peer"))


@pytest.mark.parametrize("mode", ["shard_map", "pmap"])
def test_only_jit_shards_parameters(mode):
    with pytest.raises(ValueError, match=f"sharded by jit, not by {mode}"):
        parallel.Plan(parallel.data_mesh(), mode, shard_params=True)
