import jax
import numpy as np
import pytest

from jax_resnet import parallel
from jax_resnet._text import host_and_port
from jax_resnet.parallel import collectives, distributed

# Taken from runs of two processes on CPU, one of which was killed; NCCL's from JAX on GPUs.
LOST = [
    jax.errors.JaxRuntimeError(
        "UNKNOWN: Gloo all-reduce failed: [external/gloo/gloo/transport/tcp/pair.cc:547] "
        "Connection closed by peer [127.0.0.1]:11174"
    ),
    ValueError(
        "UNKNOWN: Gloo AllGather failed: [external/gloo/gloo/transport/tcp/pair.cc:547] "
        "Connection closed by peer [127.0.0.1]:10636"
    ),
    jax.errors.JaxRuntimeError(
        "FAILED_PRECONDITION: Buffer Definition Event: Gloo all-reduce failed: "
        "[external/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1"
    ),
    jax.errors.JaxRuntimeError(
        "INTERNAL: Barrier failed because: task is set to ERROR: UNAVAILABLE: Task 1 heartbeat timeout. This "
        "indicates that the remote task has failed, got preempted, or crashed unexpectedly."
    ),
    jax.errors.JaxRuntimeError("UNAVAILABLE: failed to connect to all addresses"),
    jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED: Barrier timed out. Id: save_start::0"),
    jax.errors.JaxRuntimeError(
        "INTERNAL: NCCL operation ncclGroupEnd() failed: remote process exited or there was a network error."
    ),
]
NOT_LOST = [
    ValueError("--coordinator: no peer at this barrier"),
    ValueError("UNAVAILABLE: the file system does not answer"),
    RuntimeError("peer"),
    OSError("Connection closed by peer"),
    jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1073741824 bytes"),
    jax.errors.JaxRuntimeError("INTERNAL: NCCL operation ncclAllReduce() failed: invalid usage"),
    jax.errors.JaxRuntimeError("INVALID_ARGUMENT: the barrier's deadline exceeded, heartbeat of a peer"),
    KeyboardInterrupt(),
]


def test_if_nobody_listens_the_error_says_so():
    with pytest.raises(RuntimeError, match="process 0 does not answer there"):
        parallel.initialize("localhost:1", 2, 1, timeout=0.3)
    assert not jax.distributed.is_initialized()


@pytest.mark.parametrize("process", [0, 1])
@pytest.mark.parametrize(
    "coordinator", ["localhost", "localhost:", ":1234", "localhost:http", "localhost:70000"]
)
def test_an_address_without_host_or_port_is_refused(coordinator, process):
    with pytest.raises(ValueError, match=f"{coordinator} is not HOST:PORT"):
        parallel.initialize(coordinator, 2, process)


def test_the_brackets_of_an_ipv6_address_are_not_part_of_the_host(monkeypatch):
    asked = []
    monkeypatch.setattr(
        distributed.socket, "create_connection", lambda at, timeout: asked.append(at) or Open()
    )
    distributed._wait_for(*host_and_port("[::1]:1234"), 1.0)
    assert asked == [("::1", 1234)]


class Open:
    def close(self):
        pass


def test_a_run_of_one_process_agrees_at_once():
    votes = np.array([15, 0])
    np.testing.assert_array_equal(collectives.process_max(parallel.data_mesh())(votes), votes)
    assert collectives.broadcast_from_primary(lambda: [1, "two"]) == [1, "two"]
    assert parallel.process_shard() == (0, 1)


@pytest.mark.parametrize("error", LOST, ids=lambda error: str(error)[:40])
def test_errors_of_a_lost_process_are_recognized(error):
    assert distributed.reports_lost_process(error)


def test_the_cause_of_an_error_is_looked_at():
    error = TimeoutError("Timed out while waiting for async_commit_complete barrier.")
    error.__cause__ = LOST[0]
    assert distributed.reports_lost_process(error)


@pytest.mark.parametrize("error", NOT_LOST, ids=lambda error: str(error)[:40])
def test_other_errors_are_not_taken_for_a_lost_process(error):
    assert not distributed.reports_lost_process(error)


@pytest.mark.parametrize("error", LOST, ids=lambda error: str(error)[:40])
def test_in_a_run_of_one_process_none_is_lost(error):
    assert not parallel.lost_process(error)


@pytest.mark.parametrize("mode", ["shard_map", "pmap"])
def test_only_jit_shards_parameters(mode):
    with pytest.raises(ValueError, match=f"sharded by jit, not by {mode}"):
        parallel.Plan(parallel.data_mesh(), mode, shard_params=True)


@pytest.mark.parametrize("implementation", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_placing_a_key_keeps_its_implementation(implementation):
    key = jax.random.key(5, impl=implementation)
    placed = parallel.Plan(parallel.data_mesh()).place(key)
    assert placed.dtype == key.dtype
    np.testing.assert_array_equal(jax.random.key_data(placed), jax.random.key_data(key))


def test_the_package_exports_what_a_user_needs():
    assert set(parallel.__all__) <= set(dir(parallel))
    assert "process_max" not in parallel.__all__
