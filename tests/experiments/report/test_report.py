import json
import shutil

import numpy as np
import pytest

from experiments.cifar10 import main as train
from experiments.program.errors import ConfigError
from experiments.report import write_report
from experiments.report.__main__ import main
from tests.helpers.run_folders import write_run


@pytest.fixture(scope="module")
def runs(finished, small, tmp_path_factory):
    """A folder of runs: a network with two seeds, and another, cut short."""
    folder = tmp_path_factory.mktemp("runs")
    shutil.copytree(finished, folder / "resnet8-seed0")
    train([*small, "--seed", "1", "--workdir", str(folder / "resnet8-seed1")])
    flags = ["--arch", "plain8", "--max-steps", "9", "--log-every", "3"]
    train([*small, *flags, "--workdir", str(folder / "plain8-seed0")])
    return folder


@pytest.fixture(scope="module")
def report(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "report"
    write_report([runs / "resnet8-seed0", runs / "resnet8-seed1", runs / "plain8-seed0"], out)
    return out


def summary(run):
    return json.loads((run / "summary.json").read_text())


def true_labels(run):
    with np.load(run / "predictions.npz") as arrays:
        return arrays["labels"]


@pytest.mark.slow
def test_runs_that_differ_by_seed_are_one_row_of_mean_and_standard_deviation(runs, report):
    rows = json.loads((report / "report.json").read_text())["rows"]
    assert [(row["network"], row["seeds"]) for row in rows] == [("resnet8", [0, 1]), ("plain8", [0])]
    found = [summary(runs / name)["test_accuracy"] for name in ("resnet8-seed0", "resnet8-seed1")]
    assert rows[0]["test_accuracy_last"]["values"] == found
    assert rows[0]["test_accuracy_last"]["mean"] == pytest.approx(sum(found) / 2)
    assert rows[0]["test_accuracy_last"]["std"] == pytest.approx(abs(found[0] - found[1]) / 2**0.5)
    assert rows[0]["parameters"] == 75_290
    assert rows[1]["test_accuracy_last"]["std"] is None
    logits, labels = [], true_labels(runs / "resnet8-seed0")
    for name in ("resnet8-seed0", "resnet8-seed1"):
        with np.load(runs / name / "predictions.npz") as arrays:
            logits.append(arrays["logits_best"].astype(np.float64))
    odds = [np.exp(part - part.max(1, keepdims=True)) for part in logits]
    mean = sum(part / part.sum(1, keepdims=True) for part in odds)
    assert rows[0]["ensemble_accuracy"] == np.mean(mean.argmax(1) == labels)
    assert rows[0]["disagreement"] == np.mean(logits[0].argmax(1) != logits[1].argmax(1))
    assert rows[1]["ensemble_accuracy"] is None
    assert len(rows[0]["calibration_error"]["values"]) == 2
    assert rows[0]["top5_accuracy"] is None  # ten classes


def test_markdown_has_the_same_numbers(runs, report):
    text = (report / "report.md").read_text()
    table = [" ".join(line.split()) for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 2  # results and predictions
    found = 100 * np.array([summary(runs / f"resnet8-seed{seed}")["test_accuracy"] for seed in (0, 1)])
    row = next(line for line in table if "resnet8" in line)
    assert f"| {found.mean():.2f} ± {found.std(ddof=1):.2f} |" in row
    assert "| 75,290 |" in row
    assert "| 2 (0, 1) |" in row
    assert any("| ensemble accuracy (%) | seeds disagree (%) | calibration error (%) |" in t for t in table)
    assert "](curves.png)" in text
    assert "stopped at step 9 of the 82 of its schedule" in text


def test_curves_are_drawn_as_png_and_svg(report):
    assert (report / "curves.png").read_bytes().startswith(b"\x89PNG")
    svg = (report / "curves.svg").read_text()
    for label in ("resnet8, 2 seeds", "plain8", "validation", "cross-entropy (nats", "error (%)", "epoch"):
        assert label in svg


def test_a_folder_means_the_runs_inside_and_a_run_named_twice_counts_once(runs, tmp_path):
    notes = write_report([runs, runs / "plain8-seed0"], tmp_path / "report")
    rows = json.loads((tmp_path / "report" / "report.json").read_text())["rows"]
    assert sum(len(row["folders"]) for row in rows) == 3
    assert any("plain8-seed0 was named more than once" in note for note in notes)


def test_the_same_run_in_two_folders_is_noted(runs, tmp_path):
    shutil.copytree(runs / "plain8-seed0", tmp_path / "copy")
    notes = write_report([runs / "plain8-seed0", tmp_path / "copy"], tmp_path / "report")
    assert "plain8: runs with the same settings and seed count as different seeds." in notes
    [row] = json.loads((tmp_path / "report" / "report.json").read_text())["rows"]
    assert row["test_accuracy_last"]["std"] == 0


def test_an_unfinished_run_is_shown_with_what_there_is(runs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs / "resnet8-seed0", run)
    (run / "summary.json").unlink()
    (run / "predictions.npz").unlink()
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "step"')  # as a kill leaves it
    notes = write_report([run], tmp_path / "report")
    [row] = json.loads((tmp_path / "report" / "report.json").read_text())["rows"]
    assert row["test_accuracy_last"] is None
    assert row["epochs"]["mean"] == 2
    assert row["val_accuracy"]["mean"] == summary(runs / "resnet8-seed0")["val_accuracy"]
    assert any("not finished" in note for note in notes)


def test_networks_of_the_same_name_are_named_with_the_settings_that_differ(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "slow")
    config = json.loads((finished / "config.json").read_text())
    config["config"]["optim"]["learning_rate"] = 0.02
    (tmp_path / "slow" / "config.json").write_text(json.dumps(config))
    write_report([finished, tmp_path / "slow"], tmp_path / "report")
    rows = json.loads((tmp_path / "report" / "report.json").read_text())["rows"]
    assert [row["network"] for row in rows] == [f"resnet8 (learning rate {rate})" for rate in (0.1, 0.02)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet8-sed0", r"resnet8-sed0 is not there; did you mean .*resnet8-seed0\?"),
        ("empty", "empty holds no run: none of config.json"),
    ],
)
def test_a_folder_without_a_run_is_named(runs, tmp_path, name, message):
    folder = tmp_path / "copy"
    shutil.copytree(runs, folder)
    (folder / "empty").mkdir()
    with pytest.raises(ConfigError, match=message):
        main([str(folder / name), "--out", str(tmp_path / "report")])
    assert not (tmp_path / "report").exists()


def test_a_report_is_overwritten_only_when_asked_and_anything_else_never(runs, tmp_path):
    run, out = str(runs / "plain8-seed0"), tmp_path / "report"
    main([run, "--out", str(out)])
    before = (out / "report.json").read_bytes()
    with pytest.raises(ConfigError, match="holds a report already: --overwrite it"):
        main([str(runs), "--out", str(out)])
    assert (out / "report.json").read_bytes() == before
    (out / "notes.txt").write_text("mine")
    main([str(runs), "--out", str(out), "--overwrite"])
    assert (out / "report.json").read_bytes() != before
    assert (out / "notes.txt").read_text() == "mine"
    with pytest.raises(ConfigError, match="which is no report's"):
        main([run, "--out", str(runs / "plain8-seed0"), "--overwrite"])


def test_without_validation_the_curve_shows_the_test_set_watched_while_training(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "watched")
    metrics = tmp_path / "watched" / "metrics.jsonl"
    assert metrics.read_text().count('"kind": "val"') == 2
    metrics.write_text(metrics.read_text().replace('"kind": "val"', '"kind": "test", "which": "watched"'))
    write_report([tmp_path / "watched"], tmp_path / "report")
    svg = (tmp_path / "report" / "curves.svg").read_text()
    assert ">test<" in svg
    assert "validation" not in svg


def test_folders_of_one_name_are_two_data_sets(tmp_path):
    for pets in ("cats", "dogs"):
        source = {"dataset": "folder", "data_dir": f"/{pets}/images"}
        write_run(tmp_path / pets, settings={"data": source})
    write_report([tmp_path], tmp_path / "report")
    rows = json.loads((tmp_path / "report" / "report.json").read_text())["rows"]
    assert [row["dataset"] for row in rows] == ["the images in /cats/images", "the images in /dogs/images"]
    write_report([tmp_path / "cats"], tmp_path / "one")
    (row,) = json.loads((tmp_path / "one" / "report.json").read_text())["rows"]
    assert row["dataset"] == "the images in images"


def test_a_validation_at_a_stop_is_not_the_runs(tmp_path):
    run = write_run(tmp_path / "run", summary={"val_accuracy": None, "test_accuracy_best": None})
    metrics = run / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('"kind": "val"', '"kind": "val", "which": "stopped"'))
    write_report([run], tmp_path / "report")
    (row,) = json.loads((tmp_path / "report" / "report.json").read_text())["rows"]
    assert row["val_accuracy"] is None


def test_each_data_set_has_its_own_curves(finished, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(finished, other)
    config = json.loads((other / "config.json").read_text())
    config["config"]["data"]["dataset"] = "mnist"
    (other / "config.json").write_text(json.dumps(config))
    write_report([finished, other], tmp_path / "report")
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert {"curves-mnist.png", "curves-mnist.svg", "curves-scikit-learn-s-digits.png"} < names
    rows = json.loads((tmp_path / "report" / "report.json").read_text())["rows"]
    assert [(row["network"], row["dataset"]) for row in rows] == [
        ("resnet8", "scikit-learn's digits"),
        ("resnet8", "MNIST"),
    ]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "which runs"),
        (["RUN", "--out", ""], "--out is empty"),
        (["RUN", "--out", "a\0b"], "--out has a NUL character"),
        (["a\0b"], "runs has a NUL character|is not there"),
        (["RUN", "--out", "FILE"], "is a file: name a folder"),
        (["RUN", "--out", "RUN"], "which is no report's"),
        (["RUN", "--ot", "x"], r"--out"),
    ],
)
def test_wrong_flags_are_one_line_before_anything_is_read(tmp_path, args, message):
    run = write_run(tmp_path / "run")
    file = tmp_path / "file"
    file.write_text("mine")
    places = {"RUN": str(run), "FILE": str(file)}
    with pytest.raises(ConfigError, match=message) as error:
        main([places.get(arg, arg) for arg in args])
    assert "\n" not in str(error.value)
    assert {path.name for path in tmp_path.iterdir()} == {"run", "file"}


def test_a_report_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="Not a directory"):
        main([str(write_run(tmp_path / "run")), "--out", str(tmp_path / "file" / "report")])


def test_seeds_are_counted_and_named(tmp_path):
    for seed in range(5):
        write_run(tmp_path / "runs" / f"resnet20-{seed}", seed=seed)
    for seed in (7, 3):
        write_run(tmp_path / "runs" / f"plain20-{seed}", seed=seed, arch="plain20")
    write_report([tmp_path / "runs"], tmp_path / "report")
    text = " ".join((tmp_path / "report" / "report.md").read_text().split())
    assert "| 5 (0 to 4) |" in text
    assert "| 2 (3, 7) |" in text
    assert "how many runs a row stands for, and their seeds" in text
    assert "alibration" not in text  # no table of predictions where no run has any


def test_a_hundred_classes_have_top_5_accuracy(tmp_path):
    logits = np.zeros((4, 100), np.float32)
    logits[:, :6] = [6, 5, 4, 3, 2, 1]
    labels = np.array([0, 4, 5, 99])
    write_run(tmp_path / "run", logits=logits, labels=labels)
    write_report([tmp_path / "run"], tmp_path / "report")
    [row] = json.loads((tmp_path / "report" / "report.json").read_text())["rows"]
    assert row["top5_accuracy"]["mean"] == 0.5
    assert "| top-5 accuracy (%) |" in (tmp_path / "report" / "report.md").read_text()
