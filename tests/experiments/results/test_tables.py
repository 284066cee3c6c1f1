"""Tables between the markers of a page."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from experiments.program.errors import ConfigError, ExperimentError
from experiments.results.__main__ import main
from experiments.results.tables import TABLES
from tests.helpers.run_folders import record, write_run

REPOSITORY = Path(__file__).parents[3]
AUGMENTED = {"data": {"crop_padding": 4, "flip": True}}
PLAIN = {"data": {"crop_padding": 0, "flip": False}}


@pytest.fixture
def results(tmp_path):
    """Kept runs of every kind that a table has."""
    folder = tmp_path / "results"
    rng = np.random.default_rng(0)
    logits = np.eye(10)[np.arange(50) % 10] * 3 + rng.standard_normal((2, 50, 10))
    for seed, accuracy in ((0, 0.91), (1, 0.93)):
        write_run(
            folder / f"fast-seed{seed}",
            seed=seed,
            recipe="quick",
            settings={"optim": {"steps": 20}},
            summary={"test_accuracy_best": accuracy, "seconds": 60.0 + 60 * seed},
            logits=logits[seed].astype(np.float32),
            labels=np.arange(50) % 10,
        )
    for arch in ("plain20", "plain56", "resnet20", "resnet56"):
        write_run(folder / f"degradation-{arch}", arch=arch, settings={"optim": {"steps": 8000}})
    for arch in ("resnext50_32x4d", "resnet50"):
        write_run(folder / arch, arch=arch, settings={"optim": {"epochs": 100}})
    for name, settings in (("augmented", AUGMENTED), ("plain", PLAIN)):
        write_run(folder / f"over-{name}", arch="seminar_resnet", settings=settings)
    write_run(folder / "mnist", arch="mnist_cnn", settings={"data": {"dataset": "mnist"}})
    return folder


def fill(tmp_path, results, *markers):
    page = tmp_path / "page.md"
    page.write_text("".join(f"# {m}\n<!-- results: {m} -->\nold\n<!-- /results -->\n" for m in markers))
    main(["tables", "--results", str(results), "--pages", str(page)])
    return page.read_text()


def cells(text):
    """The rows of the only table of a page, by titles, without links."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    rows = [[re.sub(r"\[(.*?)\]\(.*?\)", r"\1", cell) for cell in row] for row in rows]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def test_seeds_are_one_row_with_mean_and_deviation(tmp_path, results):
    text = fill(tmp_path, results, "main fast-*")
    (row,) = cells(text)
    assert row["network"] == "resnet20"
    assert row["test accuracy (%)"] == "92.00 ± 1.41"
    assert row["n"] == "2"
    assert row["minutes"] == "1.5"
    assert row["training"] == "2 epochs of 49,900 images, 20 steps"
    assert row["machine"] == "cpu, 2 cores"
    assert row["command"].startswith("`python -m experiments.cifar10 --arch resnet20 --recipe quick ")
    assert row["command"].endswith(" --seeds 2`")
    assert "(results/fast-seed0)" in text
    assert "old" not in text


def test_the_main_table_has_every_group(tmp_path, results):
    rows = cells(fill(tmp_path, results, "main"))
    assert len(rows) == 10
    assert [row["data"] for row in rows] == ["CIFAR-10"] * 9 + ["MNIST"]
    assert len(cells(fill(tmp_path, results, "main !over-* !mnist"))) == 7


def test_minutes_of_different_machines_stand_apart(tmp_path, results):
    summary = {"device": "1 x NVIDIA H100 80GB HBM3", "seconds": 30.0}
    write_run(
        results / "mnist2", seed=1, arch="mnist_cnn", settings={"data": {"dataset": "mnist"}}, summary=summary
    )
    (row,) = cells(fill(tmp_path, results, "main mnist*"))
    assert row["machine"] == "cpu, 2 cores; 1 x NVIDIA H100 80GB HBM3"
    assert row["minutes"] == "1.2; 0.5"
    assert row["n"] == "2"


def test_without_validation_the_last_checkpoint_counts(tmp_path):
    run = write_run(
        tmp_path / "results" / "all",
        settings={"data": {"val_size": 0}},
        summary={"test_accuracy": 0.94, "test_accuracy_best": None, "val_accuracy": None},
    )
    lines = [record("train", 20), record("test", 20, which="last")]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (row,) = cells(fill(tmp_path, tmp_path / "results", "main"))
    assert row["test accuracy (%)"] == "94.00"
    assert row["training"] == "2 epochs of 50,000 images, 20 steps"
    assert "--val-size 0" in row["command"]


def test_recipes_are_those_against_the_clock(tmp_path, results):
    (row,) = cells(fill(tmp_path, results, "recipes"))
    assert row["recipe"] == "quick"
    assert row["images/s"] == "500"


def test_test_time_augmentation_stands_apart(tmp_path, results):
    assert "with test-time augmentation" not in fill(tmp_path, results, "recipes")
    for seed, accuracy in enumerate((0.94, 0.96)):
        assert "with test-time augmentation" not in fill(tmp_path, results, "recipes")
        evaluation = {"accuracy": accuracy, "tta": "flip"}
        (results / f"fast-seed{seed}" / "evaluation.json").write_text(json.dumps(evaluation))
    (row,) = cells(fill(tmp_path, results, "recipes"))
    assert row["with test-time augmentation (%)"] == "95.00 ± 1.41, flip"
    assert row["test accuracy (%)"] == "92.00 ± 1.41"


def test_different_test_time_augmentations_have_no_mean(tmp_path, results):
    for seed, tta in enumerate(("flip", "flip-shift")):
        evaluation = {"accuracy": 0.94, "tta": tta}
        (results / f"fast-seed{seed}" / "evaluation.json").write_text(json.dumps(evaluation))
    assert "with test-time augmentation" not in fill(tmp_path, results, "recipes")


def test_the_same_seed_twice_is_refused(tmp_path, results):
    for name in ("once", "again"):
        write_run(results / name, seed=7, recipe="paper")
    with pytest.raises(ConfigError, match=r"again and .*once are the same training with the same seed, 7"):
        fill(tmp_path, results, "main")


def test_networks_that_were_not_trained_have_the_papers_number_and_a_command(tmp_path, results):
    rows = {row["network"]: row for row in cells(fill(tmp_path, results, "deeper"))}
    ours, theirs = rows["resnet56"], rows["resnet110"]
    assert ours["test accuracy (%)"] == "50.00"
    assert ours["paper (%)"] == "93.03 (He et al. 2015)"
    assert ours["multiply-adds"] == "125.5 M"
    assert theirs["test accuracy (%)"] == "not trained by us"
    assert theirs["paper (%)"] == "93.57 (He et al. 2015)"
    assert theirs["public PyTorch (%)"] == "93.68 (akamaster)"
    assert theirs["parameters"] == "1,727,962"
    assert theirs["command"] == "`python -m experiments.cifar10 --arch resnet110 --recipe paper`"
    assert rows["resnext50_32x4d"]["paper (%)"] == "—"
    assert not {"plain20", "mnist_cnn"} & set(rows)


def test_of_a_network_the_longest_training_is_compared_with_the_paper(tmp_path, results):
    write_run(
        results / "long",
        settings={"optim": {"epochs": 90}},
        summary={"epochs": 90.0, "test_accuracy_best": 0.92},
    )
    rows = {row["network"]: row for row in cells(fill(tmp_path, results, "deeper"))}
    assert (rows["resnet20"]["epochs"], rows["resnet20"]["test accuracy (%)"]) == ("90", "92.00")


def test_degradation_compares_networks_of_equal_settings(tmp_path, results):
    rows = cells(fill(tmp_path, results, "degradation"))
    assert [row["network"] for row in rows] == ["plain20", "plain56", "resnet20", "resnet56"]
    # Steps 15 and 20 lie within the last epoch, of which step 10 is the beginning.
    assert {row["training accuracy (%)"] for row in rows} == {f"{100 * (15 + 20) / 2 / 60:.2f}"}
    assert {row["validation accuracy (%)"] for row in rows} == {"33.33"}
    assert {row["test accuracy (%)"] for row in rows} == {"50.00"}


def test_resnext_beside_resnet_shows_what_they_cost(tmp_path, results):
    rows = cells(fill(tmp_path, results, "resnext"))
    assert [row["network"] for row in rows] == ["resnet50", "resnext50_32x4d"]
    assert rows[0]["ms per step"] == "256.0"  # 128 images at 500 images/s
    assert all(row["multiply-adds"].endswith(" M") for row in rows)


def test_a_resnext_with_one_group_is_the_resnet_that_others_are_compared_with(tmp_path):
    results = tmp_path / "results"
    write_run(results / "grouped", arch="resnext29_16x3d")
    write_run(results / "more-groups", arch="resnext29_8x5d")
    assert "No such runs" in fill(tmp_path, results, "resnext")
    write_run(results / "one-group", arch="resnext29_1x32d")
    networks = [row["network"] for row in cells(fill(tmp_path, results, "resnext"))]
    assert networks == ["resnext29_1x32d", "resnext29_8x5d", "resnext29_16x3d"]


def test_overfitting_compares_with_and_without_augmentation(tmp_path, results):
    rows = cells(fill(tmp_path, results, "overfitting"))
    assert [row["augmentation"] for row in rows] == ["yes", "no"]


def test_seeds_say_what_ensembles_give(tmp_path, results):
    (row,) = cells(fill(tmp_path, results, "seeds"))
    assert row["n"] == "2"
    assert 50 < float(row["ensemble (%)"]) <= 100
    assert 0 < float(row["seeds disagree (%)"]) < 60
    assert row["top-5 (%)"] == "—"


def test_tried_settings_are_sorted_by_validation(tmp_path, results):
    trial = {"recipe": "fast", "seed": 0, "steps": 100, "device": "cpu"}
    lines = [
        {**trial, "flags": "--ema 0.9", "val_accuracy": 0.8},
        {**trial, "flags": "", "val_accuracy": 0.9},
        {**trial, "flags": "--ema 0.9", "val_accuracy": 0.84, "seed": 1},
    ]
    (results / "search.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = cells(fill(tmp_path, results, "search"))
    assert [row["flags"] for row in rows] == ["none", "`--ema 0.9`"]
    assert [row["validation accuracy (%)"] for row in rows] == ["90.00", "82.00 ± 2.83"]


def test_tables_without_runs_say_so(tmp_path):
    write_run(tmp_path / "results" / "one", arch="vgg16", settings={"data": {"dataset": "cifar100"}})
    text = fill(tmp_path, tmp_path / "results", *(name for name in TABLES if name not in ("main", "deeper")))
    assert text.count("No such runs are kept.") == 5
    assert "No tried settings are logged." in text


def test_check_fails_where_a_page_differs_and_writes_nothing(tmp_path, results):
    fill(tmp_path, results, "main", "recipes")
    page = tmp_path / "page.md"
    args = ["tables", "--check", "--results", str(results), "--pages", str(page)]
    main(args)
    changed = page.read_text().replace("92.00 ± 1.41", "95.00 ± 1.41", 1)
    page.write_text(changed)
    with pytest.raises(ExperimentError, match=r"line \d+ is '.*95.00 ± 1.41.*it is '.*92.00 ± 1.41") as found:
        main(args)
    assert "\n" not in str(found.value)
    assert page.read_text() == changed


def test_text_around_tables_and_line_ends_stay(tmp_path, results):
    page = tmp_path / "page.md"
    page.write_text("before  \n<!-- results: search -->\n<!-- /results -->\nafter, without a line end")
    main(["tables", "--results", str(results), "--pages", str(page)])
    text = page.read_text()
    assert text.startswith("before  \n<!-- results: search -->\n\nNo tried")
    assert text.endswith("\n<!-- /results -->\nafter, without a line end")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing\n", "has no <!-- results: TABLE -->"),
        ("<!-- results: degredation -->\n<!-- /results -->\n", "line 1: .*did you mean degradation"),
        ("<!-- results:  -->\n<!-- /results -->\n", "no table is called nothing"),
        ("<!-- results: main -->\n", "main has no <!-- /results --> after it"),
        (
            "<!-- results: main -->\n<!-- results: search -->\n<!-- /results -->\n",
            "line 2: .*before this one",
        ),
    ],
)
def test_wrong_markers_are_named_and_nothing_is_written(tmp_path, results, text, message):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ConfigError, match=message):
        main(["tables", "--results", str(results), "--pages", str(page)])
    assert page.read_text() == text


def test_a_damaged_kept_run_is_named(tmp_path, results):
    (results / "fast-seed0" / "summary.json").unlink()
    with pytest.raises(ConfigError, match="fast-seed0: not finished"):
        fill(tmp_path, results, "main")


def test_the_tables_of_this_repository_are_those_of_its_kept_runs(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    main(["tables", "--check"])
