"""The growth bench: its sweeps, rows and page."""

import dataclasses
import json

import pytest

from experiments.bench.__main__ import main
from experiments.bench.config import SWEEPS
from experiments.bench.growth import growth_row, sweeps
from experiments.bench.growth_page import CHOICES, growth_page
from experiments.bench.timing import Timing
from jax_resnet.models import create_model, summary

PROVENANCE = {
    "command": "python -m experiments.bench --growth",
    "versions": {"jax": "0.10.2", "python": "3.11"},
    "hardware": {"cores": 2, "cpu": "AMD EPYC"},
    "commit": "0123456789abcdef",
}


def measured(name, seconds=lambda index: 0.1, start=lambda index: 5.0):
    """Rows of a sweep as they would be with such times."""
    rows = []
    sweep = sweeps()[name]
    for index, (value, case) in enumerate(sweep.cases.items()):
        timing = Timing(case, start(index), 1, [seconds(index)] * 3, 2**30)
        rows.append(growth_row(name, value, timing, sweep.processes.get(value, 1), rows))
    return rows


@pytest.mark.parametrize("name", SWEEPS)
def test_every_case_of_a_sweep_is_a_network_or_a_layer_that_exists(name):
    for case in sweeps()[name].cases.values():
        assert case.flops() > 0
        if case.layer is None and name in ("width", "cardinality", "image-size"):
            network = create_model(case.arch, **case.options)
            assert summary(network, (case.image_size, case.image_size, 3)).parameters > 0


def test_the_sweeps_reach_what_people_ask_about():
    cases = {name: list(sweep.cases) for name, sweep in sweeps().items()}
    assert (cases["batch"][0], cases["batch"][-1]) == ("1", "1,024")
    assert cases["depth"][0] == "resnet20, written out"
    assert cases["depth"][-1] == "resnet1202, in loops, recomputed"
    assert "resnet1202, written out" not in cases["depth"]
    assert (cases["cardinality"][0], cases["cardinality"][-1]) == ("1", "64")
    assert (cases["image-size"][0], cases["image-size"][-1]) == ("32x32", "224x224")
    assert cases["processes"] == ["1", "2"]


def test_a_multiply_add_costs_what_it_costs_beside_the_first_case():
    # Twice the groups are half the multiply-adds: in the same time each costs twice as much.
    costs = [row["cost of a multiply-add"] for row in measured("groups")]
    assert costs == pytest.approx([1, 2, 4, 8, 16, 32, 64, 128])


def test_images_of_processes_at_once_add_up():
    one, two = measured("processes")
    assert one["images/s"] == two["images/s"] == pytest.approx(1280)


def test_the_page_names_its_command_and_has_a_table_and_a_choice_per_sweep():
    rows = [row for name in SWEEPS for row in measured(name)]
    page = growth_page(rows, PROVENANCE)
    assert "`python -m experiments.bench --growth`" in page
    assert "2 cores of an AMD EPYC, jax 0.10.2, Python 3.11 (commit 012345678)" in page
    assert page.count("\n## ") == page.count("**What to choose (f32).**") == len(SWEEPS) == len(CHOICES)
    assert page.count("\n|--") == len(SWEEPS)
    assert max(len(line) for line in page.splitlines() if not line.startswith("|")) < 120


def test_the_choices_follow_from_the_numbers():
    def page(name, **times):
        return growth_page(measured(name, **times), PROVENANCE)

    # Images per second: 1, 4, 16, 64, 128, 128 of 128.
    assert "Batches of 256 run at 100%" in page("batch", seconds=lambda i: (1, 1, 1, 1, 2, 8)[i])
    assert "start sooner from resnet32 on" in page("depth", start=lambda i: 5 if i != 3 else 9)
    assert "run several trainings one after the other, with all cores" in page("processes")
    assert "run several trainings two side by side" in page("processes", seconds=lambda i: (0.2, 0.1)[i])
    assert "With 64, 128 groups it takes longer than in one" in page(
        "groups", seconds=lambda i: 2.0 if i > 5 else 1.0
    )


@pytest.mark.slow
def test_a_sweep_is_timed_and_written(tmp_path, capsys, monkeypatch):
    small = {
        name: sweep._replace(
            cases={
                value: dataclasses.replace(
                    case, arch="resnet8", batch_size=2, image_size=8, options={}, layer=None
                )
                for value, case in sweep.cases.items()
            }
        )
        for name, sweep in sweeps().items()
    }
    monkeypatch.setattr("experiments.bench.growth.sweeps", lambda dtype, conv: small)
    flags = "--growth --sweep width processes --dtype f32 --rounds 1 --round-seconds 0.01"
    main([*flags.split(), "--out", str(tmp_path / "rows.json"), "--page", str(tmp_path / "page.md")])
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [row["sweep"] for row in rows] == ["width"] * 4 + ["processes"] * 2
    page = (tmp_path / "page.md").read_text()
    assert page.count("What to choose") == 2
    assert "## Width: wrn_16_N" in page
