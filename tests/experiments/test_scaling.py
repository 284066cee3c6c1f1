import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.bench.collective_bytes import compiled_bytes
from experiments.bench.communication import (
    ScalingConfig,
    Traffic,
    all_reduce_seconds,
    scaling_rows,
)
from experiments.program.errors import ConfigError
from experiments.scaling import main


@pytest.mark.slow
def test_the_count_is_what_xla_adds_up():
    small = ["--arch", "resnet8", "--stem", "cifar", "--num-classes", "10", "--image-size", "8"]
    result = subprocess.run(
        [sys.executable, "-m", "experiments.scaling", *small, "--per-device-batch", "2", "--check", "--json"],
        env={**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(result.stdout)
    assert found["compiled_for"] == 8
    assert found["traffic"]["gradients"] == 4 * 75_290
    counted = found["traffic"]["gradients"] + found["traffic"]["statistics"]
    # Beside these the metrics: the loss and the number of correct predictions.
    assert found["compiled_bytes"] == counted + 8


def test_bytes_are_read_off_every_kind_of_all_reduce():
    program = """
      %a = f32[3,4]{1,0} all-reduce(%x), to_apply=%add
      %b = (f32[10]{0}, bf16[2,2]{1,0}, s32[]) all-reduce-start(%y, %z, %w), to_apply=%add
      %c = f32[100]{0} add(%p, %q)
    """
    assert compiled_bytes(program) == 48 + 40 + 8 + 4


def test_an_all_reduce_has_its_closed_form():
    config = ScalingConfig(link_gb=100, network_gb=10, latency_us=5, devices_per_host=4)
    assert all_reduce_seconds(1e9, 1, config) == 0
    assert all_reduce_seconds(1e9, 4, config) == pytest.approx(2 * 3 / 4 * 1e9 / 100e9 + 4 * 5e-6)
    hosts = 2 * 1 / 2 * 1e9 / 10e9 + 2 * 5e-6
    assert all_reduce_seconds(1e9, 8, config) == pytest.approx(all_reduce_seconds(1e9, 4, config) + hosts)


def test_efficiency_falls_with_devices_and_rises_with_overlap():
    moved = Traffic(100_000_000, 100_000, 150)
    exposed = [row.efficiency for row in scaling_rows(ScalingConfig(), moved)]
    hidden = [row.efficiency for row in scaling_rows(ScalingConfig(overlap=1.0), moved)]
    assert exposed[0] == hidden[0] == 1
    assert exposed == sorted(exposed, reverse=True)
    assert all(a > b for a, b in zip(hidden[1:], exposed[1:], strict=True))


def test_the_table_has_a_row_per_number_of_devices(capsys):
    flags = "--arch resnet8 --stem cifar --num-classes 10 --image-size 8 --devices 1 8 16"
    main(flags.split())
    first, _, *table = capsys.readouterr().out.splitlines()
    assert first.startswith("resnet8: 0.3 MB of gradients")
    assert [line.split("|")[1].strip() for line in table] == ["devices", "--------:", "1", "8", "16"]
    assert table[2].rstrip(" |").endswith("100.0%")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--arch resnet21", "--arch resnet21: no network is called 'resnet21'"),
        ("--arch vgg16 --stem cifar --image-size 8", "--image-size 8: images of 8x8 are too small"),
        ("--devices 0 2", "--devices must be 1 or more, not 0"),
        ("--devices", "--devices"),
        ("--devices-per-host 0", "--devices-per-host must be 1 or more, not 0"),
        ("--link-gb 0", "--link-gb must be more than 0, not 0.0"),
        ("--step-ms nan", "--step-ms must be more than 0, not nan"),
        ("--latency-us -1", "--latency-us must be 0 or more, not -1.0"),
        ("--overlap 1.5", "--overlap must be at least 0 and at most 1, not 1.5"),
        ("--image-size big", "--image-size"),
    ],
)
def test_an_invalid_flag_is_named(flags, message):
    with pytest.raises(ConfigError) as error:
        main(flags.split())
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("flags", [["--devices", *["1"] * 3000], ["--help"], ["--json"]])
def test_a_closed_pipe_ends_the_program_quietly(flags):
    read, write = os.pipe()
    os.close(read)  # Nobody reads: the first flush fails.
    try:
        done = subprocess.run(
            [sys.executable, "-m", "experiments.scaling", *flags],
            cwd=Path(__file__).parents[2],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(write)
    assert done.stderr == ""
    # Some versions of argparse ignore that their help cannot be written.
    assert done.returncode in ((0, 141) if flags == ["--help"] else (141,))
