"""The bench: what it counts and times, and the processes that it times in."""

import json
import math
import subprocess
import sys

import pytest

from experiments.bench.__main__ import main
from experiments.bench.case import Case, LayerShape, parse_arch
from experiments.bench.end_to_end import epoch_rows, run_program
from experiments.bench.layers import count_layers
from experiments.bench.timing import interleaved, simultaneous
from experiments.program.errors import ConfigError, ExperimentError
from jax_resnet.models import create_model, summary

TINY = {"stage_sizes": (1,), "widths": (8,)}


def tiny(framework="jax_resnet", **fields):
    return Case(framework, "resnet20", 4, options=TINY, image_size=8, **fields)


def test_operations_are_those_of_the_layers():
    # 41 million multiply-adds an image (He et al. 2015 have 0.04 billion), forward once and backward twice.
    assert Case("jax_resnet", "resnet20", 128).flops() == pytest.approx(6 * 128 * 40.8e6, rel=0.01)
    layer = LayerShape(size=32, inputs=16, outputs=32, kernel=3, strides=2)
    assert Case("jax_resnet", batch_size=2, layer=layer).flops() == 6 * 2 * 16 * 16 * 9 * 16 * 32


@pytest.mark.parametrize("arch", ["resnet20", "resnet50", "resnext29_32x4d"])
def test_layers_add_up_to_the_network(arch):
    name, options = parse_arch(arch)
    counted = count_layers(name, options, 32)
    convolutions = sum(
        times * Case("jax_resnet", batch_size=1, layer=layer).flops() // 6
        for layer, times in counted.items()
        if layer.kernel
    )
    head = summary(create_model(name, **options)).layers[-1].multiply_adds
    assert convolutions + head == summary(create_model(name, **options)).multiply_adds


def test_an_unknown_network_is_named():
    with pytest.raises(ConfigError, match="resnet20"):
        parse_arch("resnet21")
    with pytest.raises(ConfigError, match="--layers and --depth are different benches: choose one"):
        main(["--layers", "--depth"])


@pytest.mark.parametrize("framework", ["jax_resnet", "flax", "matmul"])
def test_a_case_is_timed_in_its_own_process(framework):
    (timing,) = interleaved([tiny(framework)], rounds=2, round_seconds=0.01)
    assert len(timing.seconds) >= 3
    assert 0 < timing.median < timing.start_seconds
    assert timing.images_per_second == pytest.approx(4 / timing.median)
    network = summary(create_model("resnet20", **TINY))
    assert timing.parameters == (0 if framework == "matmul" else network.parameters)
    assert timing.peak_bytes > 50e6


def test_the_same_network_in_pytorch():
    pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    ours, theirs = interleaved([tiny(), tiny("torch", layout="NHWC")], rounds=1, round_seconds=0.01)
    assert ours.parameters == theirs.parameters


@pytest.mark.slow
def test_a_step_of_simultaneous_processes_ends_with_the_slowest():
    timing = simultaneous([tiny(), tiny()], rounds=1)
    assert len(timing.seconds) == 5
    assert all(second > 0 for second in timing.seconds)


def test_malloc_is_set_before_jax_is_imported():
    code = "import sys, experiments.bench.worker; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_error_in_a_process_is_raised_here():
    with pytest.raises(ExperimentError, match="no option 'widhts'"):
        interleaved(
            [Case("jax_resnet", "resnet20", 4, options={"widhts": (8,)})], rounds=1, round_seconds=0.01
        )


@pytest.mark.slow
def test_layers_are_printed_and_written_as_json(tmp_path, capsys):
    out = tmp_path / "bench.json"
    flags = (
        "--layers --arch resnet8 --batch-size 2 --image-size 8 --dtype f32 --rounds 1 --round-seconds 0.01"
    )
    main([*flags.split(), "--out", str(out)])
    rows = json.loads(out.read_text())["rows"]
    *layers, total = rows
    name = "jax_resnet f32 (ms)"
    assert total[name] == pytest.approx(sum(row["times"] * row[name] for row in layers))
    table = capsys.readouterr().out
    assert "3x3 16 to 32 at 8x8, stride 2" in table
    assert table.count("|\n") == len(rows) + 2


@pytest.mark.slow
def test_the_loop_is_compared_with_its_step_alone(tmp_path):
    out = tmp_path / "bench.json"
    flags = "--loop --arch resnet8 --batch-size 16 --image-size 8 --dtype f32 --rounds 2 --round-seconds 0.05"
    main([*flags.split(), "--out", str(out)])
    (row,) = json.loads(out.read_text())["rows"]
    assert row["in the loop (ms)"] > 0
    ratio = row["in the loop (ms)"] / row["step alone (ms)"]
    assert row["added (%)"] == pytest.approx(100 * (ratio - 1))
    assert math.isfinite(ratio)


def test_an_epoch_is_compared_round_by_round():
    # In both rounds ours takes 80% of the time of theirs, whatever the machine did meanwhile.
    def report(seconds):
        return {"process": 2 * seconds, "seconds": seconds, "images_per_second": 800 / seconds}

    reports = {"jax_resnet": [report(4), report(12)], "PyTorch": [report(5), report(15)]}
    first, second, ratio = epoch_rows("resnet20", 128, reports)
    assert first["whole process (s)"] == 16
    assert second["after set-up (s)"] == pytest.approx(10)
    for column in ("training (images/s)", "after set-up (s)", "whole process (s)"):
        assert ratio[column] == pytest.approx(1.25)


def test_a_program_that_fails_is_reported_in_one_line():
    with pytest.raises(ExperimentError, match=r"experiments.cifar10 ended with status 2: error: .*resnet20"):
        run_program(["experiments.cifar10", "--arch", "resnet21"])
