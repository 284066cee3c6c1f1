import pytest

from experiments.report.settings import (
    applicable_settings,
    compare_settings,
    compared_settings,
    format_setting,
    read_settings,
)


def settings(**changes):
    written, notes = read_settings({"optim": changes})
    assert notes == []
    return written


def test_settings_of_older_versions_get_their_defaults():
    read, notes = read_settings({"model": {"arch": "resnet56"}, "new": {"unknown": 1}})
    assert notes == []
    assert read["arch"] == "resnet56"
    assert read["batch_size"] == 128
    assert "unknown" not in read


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        ("model", "arch", 7),
        ("data", "flip", "yes"),
        ("optim", "batch_size", 1.5),
        ("optim", "batch_size", True),
        ("optim", "batch_size", 2**63),
        ("optim", "learning_rate", float("nan")),
        ("optim", "learning_rate", 10**400),
        ("optim", "milestones", 0.5),
        ("optim", "milestones", [0.5, "x"]),
        ("optim", "milestones", [0.5] * 1001),
        ("optim", "steps", []),
        ("data", "dataset", None),
    ],
)
def test_values_of_wrong_types_are_left_out(group, name, value):
    read, [note] = read_settings({group: {name: value}, "run": {"seed": 3}})
    assert name not in read
    assert read["seed"] == 3
    assert note == f"left out of config.json: wrong values of {name}"


@pytest.mark.parametrize("written", [None, [], "x", 3, {}, {"model": 3}, {"a": {"b": {"c": {"d": {}}}}}])
def test_no_settings_are_no_error(written):
    assert read_settings(written)[1] == []


def test_settings_without_effect_are_not_compared():
    step, cycle = settings(schedule="step"), settings(schedule="one-cycle", milestones=[0.1])
    different, same = compare_settings([step, cycle])
    assert different == ["schedule", "milestones", "factor", "peak_at"]
    assert "milestones" not in applicable_settings(cycle)
    assert "peak_at" not in applicable_settings(step)
    assert not {"image_size", "workers", "randaugment_magnitude", "steps", "beta2"} & {*different, *same}


def test_two_step_schedules_differ_by_milestones_alone():
    one, other = settings(schedule="step"), settings(schedule="step", milestones=[0.1], peak_at=0.9)
    assert compare_settings([one, other])[0] == ["milestones"]


def test_epochs_have_no_effect_beside_steps():
    assert compare_settings([settings(steps=9, epochs=1), settings(steps=9, epochs=2)])[0] == []


def test_seed_and_place_are_no_difference_unless_the_place_is_the_data():
    one, _ = read_settings({"run": {"seed": 1, "workdir": "a"}, "data": {"data_dir": "x"}})
    two, _ = read_settings({"run": {"seed": 2, "workdir": "b"}, "data": {"data_dir": "y"}})
    assert compared_settings(one) == compared_settings(two)
    folder = {"dataset": "folder"}
    one, _ = read_settings({"data": {"data_dir": "x", **folder}})
    two, _ = read_settings({"data": {"data_dir": "y", **folder}})
    assert compare_settings([one, two])[0] == ["data_dir"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        ((), "—"),
        (True, "yes"),
        (False, "no"),
        (1000, "1,000"),
        (0.1, "0.1"),
        ((0.5, 0.75), "0.5 0.75"),
        ("a\nb", "a\\nb"),
    ],
)
def test_values_are_written_for_people(value, text):
    assert format_setting(value) == text
