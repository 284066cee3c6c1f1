"""The bench: what it counts and times, and the processes that it times in."""

import json
import math
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import bench
from experiments.bench.__main__ import main
from experiments.bench.case import Case, LayerShape, parse_arch
from experiments.bench.config import MODES, BenchConfig
from experiments.bench.inference import inference_rows
from experiments.bench.layers import count_layers
from experiments.bench.networks import leave_out, network_cases, network_rows
from experiments.bench.process import process_setup
from experiments.bench.table import PROGRAM_TITLES, format_rows, format_tables
from experiments.bench.timing import Timing, interleaved, simultaneous
from experiments.program.console import Console
from experiments.program.errors import ConfigError, ExperimentError
from experiments.settings.parser import parse_flags
from jax_resnet.models import create_model, summary

TORCH = "compares with PyTorch, which is not installed"
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


@pytest.mark.parametrize("framework", ["jax_resnet", "flax", "matmul"])
@pytest.mark.slow
def test_a_case_is_timed_in_its_own_process(framework):
    (timing,) = interleaved([tiny(framework)], rounds=2, round_seconds=0.01)
    assert len(timing.seconds) >= 3
    assert 0 < timing.median < timing.start_seconds
    assert timing.images_per_second == pytest.approx(4 / timing.median)
    network = summary(create_model("resnet20", **TINY))
    assert timing.parameters == (0 if framework == "matmul" else network.parameters)
    assert timing.peak_bytes > 50e6


def test_the_same_network_in_pytorch():
    pytest.importorskip("torch", reason=TORCH)
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


FLAGS = [
    (["--layers", "--growth"], "--layers and --growth are different benches: choose one"),
    (["--rounds", "0"], "--rounds must be 1 or more, not 0"),
    (["--round-seconds", "inf"], "--round-seconds must be more than 0, not inf"),
    (["--round-seconds", "nan"], "--round-seconds must be more than 0, not nan"),
    (["--image-size", "-1"], "--image-size must be 1 or more, not -1"),
    (["--arch", "vgg16", "--image-size", "8"], "--arch vgg16: images of 8x8 are too small"),
    (["--arch", "resnet20@blog"], "--arch resnet20@blog: no variant 'blog'"),
    (["--arch", "mnist_cnn", "--against", "torch"], "--arch mnist_cnn: has no form in PyTorch here"),
    (["--layers", "--user"], "--user goes with whole training steps or --inference, not with --layers"),
    (["--out", "no-such-folder/bench.json"], "--out no-such-folder/bench.json: must be a file in a folder"),
    (["--page", "page.md"], "--page goes with --growth"),
    (["--growth", "--page", "no-such-folder/a.md"], "--page no-such-folder/a.md: must be a file in a folder"),
    (["--growth", "--sweep", "dept"], "did you mean depth?"),
    (["--dtype"], "--dtype"),
    (["--dtype", "f32", "bf61"], "--dtype is one of f32, bf16, not 'bf61'; did you mean bf16?"),
    (["--round", "3"], "unknown flag --round; did you mean --rounds?"),
    (["--torch-compile"], "--torch-compile goes with --against torch"),
    (["--loop", "--steps-per-wait", "2"], "--steps-per-wait goes with whole training steps"),
    (
        ["--growth", "--against", "flax"],
        "--against goes with whole training steps, --inference or --layers, not with",
    ),
    (["--growth", "--arch", "resnet20"], "--arch goes with whole training steps, --inference, --layers,"),
    (["--growth", "--batch-size", "8"], "not with --growth"),
    (["--growth", "--image-size", "64"], "not with --growth"),
    (["--growth", "--conv", "xla", "jax"], "--growth takes one --conv, not 2"),
    (["--sweep", "depth"], "--sweep goes with --growth, not with whole training steps"),
    (["--epochs", "5"], "--epochs goes with --race, not with whole training steps"),
    (["--race", "--epochs", "0"], "--epochs"),
    (["--loop", "--arch", "resnext29_32x4d@blog"], "which has no resnext29_32x4d@blog"),
    (["--accuracy", "0.5"], "--accuracy goes with --race, not with whole training steps"),
    (
        ["--loop", "--conv", "xla"],
        "--conv goes with whole training steps, --inference, --layers or --growth, not with",
    ),
]


@pytest.mark.parametrize(("flags", "message"), FLAGS)
def test_an_invalid_flag_is_named_before_anything_is_timed(flags, message):
    if "torch" in flags:
        pytest.importorskip("torch", reason=TORCH)
    with pytest.raises(ConfigError) as error:
        main(flags)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_library_users_process_sets_nothing(monkeypatch):
    monkeypatch.setenv("JAX_RESNET_MALLOC", "1")
    monkeypatch.setenv("JAX_RESNET_CONV", "xla")
    flags, environment = process_setup(tiny(program="user"))
    assert flags == ["--import-jax-first"]
    assert not [name for name in environment if name.startswith("JAX_RESNET_")]
    assert environment["PATH"]
    flags, environment = process_setup(tiny())
    assert flags == ["--keep-freed-memory"]
    assert environment["JAX_RESNET_CONV"] == "xla"
    assert process_setup(tiny("torch"))[0] == []


def test_a_library_users_program_is_timed():
    (timing,) = interleaved([tiny(program="user", task="evaluate")], rounds=1, round_seconds=0.01)
    assert timing.median > 0
    assert timing.parameters == summary(create_model("resnet20", **TINY)).parameters


def test_torch_compile_is_timed_beside_eager():
    config = BenchConfig(against="torch", torch_compile=True)
    assert [(case.name, case.dtype) for case in network_cases(config, tiny()) if case.compiled] == [
        ("PyTorch NHWC, compiled", "f32"),
        ("PyTorch autocast, compiled", "bf16"),
    ]


def test_what_cannot_be_compiled_is_left_out_and_nothing_else(capsys):
    error = ExperimentError("no compiler")
    leave_out(tiny("torch", compiled=True), error, Console())
    assert "PyTorch NCHW, compiled f32 is left out: no compiler" in capsys.readouterr().out
    with pytest.raises(ExperimentError, match="no compiler"):
        leave_out(tiny("torch"), error, Console())


def test_a_case_that_cannot_be_prepared_may_be_left_out():
    wrong = Case("jax_resnet", "resnet20", 4, options={"widhts": (8,)})
    failed = []
    found = interleaved([wrong], rounds=1, round_seconds=0.01, on_failure=lambda *both: failed.append(both))
    assert found == []
    assert failed[0][0] == wrong


def test_several_steps_may_pass_before_one_is_waited_for():
    (timing,) = interleaved([tiny(steps_per_wait=5)], rounds=1, round_seconds=0.01)
    assert len(timing.seconds) == 2
    assert 0 < timing.median < timing.start_seconds


def test_processes_on_a_gpu_share_its_memory(monkeypatch):
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE", raising=False)
    for framework in ("jax_resnet", "flax", "matmul", "torch"):
        assert process_setup(tiny(framework))[1]["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "true")
    assert process_setup(tiny())[1]["XLA_PYTHON_CLIENT_PREALLOCATE"] == "true"


def test_both_programs_are_timed_in_the_same_rounds():
    config = BenchConfig(user=True, against="torch")
    cases = network_cases(config, tiny())
    names = [(case.name, case.dtype) for case in cases]
    assert names == [
        ("jax_resnet", "f32"),
        ("jax_resnet, library user's program", "f32"),
        ("jax_resnet", "bf16"),
        ("jax_resnet, library user's program", "bf16"),
        ("PyTorch NCHW", "f32"),
        ("PyTorch NHWC", "f32"),
        ("PyTorch autocast", "bf16"),
    ]
    evaluated = network_cases(config, tiny(task="evaluate"))
    assert [case.name for case in evaluated[-2:]] == ["PyTorch autocast", "PyTorch bf16 weights"]
    assert all(case.task == "evaluate" for case in evaluated)


def timing_of(case, seconds):
    return Timing(case, start_seconds=1.0, parameters=100, seconds=[seconds] * 3)


def test_each_program_has_a_table_with_the_same_rivals():
    cases = network_cases(BenchConfig(user=True, against="torch", dtype=("f32",)), tiny())
    products = [timing_of(Case("matmul"), 0.5)]
    timings = [timing_of(case, seconds) for case, seconds in zip(cases, (1.0, 1.5, 4.0, 2.0), strict=True)]
    rows = network_rows("resnet20", timings + products)
    assert [row["to best f32 rival"] for row in rows[:4]] == [2, pytest.approx(4 / 3), 0.5, 1]
    first, second = format_tables(rows).split(PROGRAM_TITLES["user"])
    assert first.startswith(PROGRAM_TITLES["experiments"])
    for part in (first, second):
        assert part.count("PyTorch NCHW") == part.count("PyTorch NHWC") == 1
        assert "| program" not in part
    assert "library user" not in first
    assert "library user's program" in second


def test_latency_and_images_per_second_of_one_image():
    cases = network_cases(BenchConfig(against="torch"), Case("jax_resnet", "resnet20", 1, task="evaluate"))
    rows = inference_rows("resnet20", [timing_of(case, 0.004) for case in cases])
    assert {row["latency (ms)"] for row in rows} == {4.0}
    assert {row["images/s"] for row in rows} == {250.0}
    assert rows[0]["GFLOP/s"] == pytest.approx(2 * 40.55e6 / 0.004 / 1e9, rel=1e-3)
    assert "program" not in format_rows(rows)


@pytest.mark.slow
def test_inference_of_every_case(tmp_path):
    pytest.importorskip("torch", reason=TORCH)
    out = tmp_path / "bench.json"
    flags = "--inference --user --against torch --arch resnet8 --batch-size 4 --image-size 8 --rounds 1"
    main([*flags.split(), "--round-seconds", "0.01", "--out", str(out)])
    rows = json.loads(out.read_text())["rows"]
    assert len(rows) == 2 * (8 + 4)  # ours in two programs and types, folded and not; PyTorch's
    assert [row["batch"] for row in rows] == [4] * 12 + [1] * 12


def test_the_commands_of_the_readme_are_valid():
    pytest.importorskip("torch", reason=TORCH)
    readme = Path(bench.__file__).parent / "README.md"
    block = readme.read_text(encoding="utf-8").split("```sh\n")[1].split("```")[0]
    commands = [shlex.split(line, comments=True)[3:] for line in block.splitlines()]
    assert len(commands) == 9
    configs = [parse_flags(BenchConfig, "bench", "", flags, BenchConfig()) for flags in commands]
    for config in configs:
        config.check()
    assert {config.mode for config in configs} == set(MODES)
