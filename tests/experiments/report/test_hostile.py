"""Run folders from strangers: whatever is in them, there is a report and no traceback."""

import functools
import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.report import write_report
from experiments.report.groups import group_runs
from experiments.report.predictions import read_predictions
from experiments.report.runs import read_run
from experiments.report.table import RESULT_COLUMNS, make_row, prediction_columns, table_markdown
from experiments.runs.reading import UnreadableError
from tests.helpers.fuzz import damaged_by, damages, go_on
from tests.helpers.run_folders import record, write_run

MARKUP = "</td><script>alert(1)</script>|`[x](y)$z$\n# \x00\udcff"
VALUES = [
    None, True, 3, -1, 10**400, 2**64, 1e308, -1e308, 0.5, float("nan"), float("inf"), "", "text", MARKUP,
    "x" * 100_000, [], [1, 2], ["a"], [[[]]], [None] * 1000, {}, {"a": 1}, {MARKUP: MARKUP},
]  # fmt: skip


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npz_of_bytes(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def npy(shape, dtype="<f4", content=b""):
    header = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


class Evil:
    def __reduce__(self):
        return (os.mkdir, ("/tmp/evil-was-here",))


LABELS, LOGITS = np.zeros(4, np.int64), np.eye(4, 3, dtype=np.float32)
GOOD_LABELS = npy((4,), "<i8", LABELS.tobytes())
BAD_PREDICTIONS = {
    "empty": (b"", "damaged"),
    "no archive": (b"PK\x03\x04 and no more", "damaged"),
    "no labels": (npz(logits_best=LOGITS), "without labels"),
    "no logits": (npz(labels=LABELS), "without logits_best"),
    "pickled": (npz(labels=np.array([Evil()] * 4, object), logits_best=LOGITS), "labels is object"),
    "pickle inside": (npz_of_bytes(labels=pickle.dumps(Evil()), logits_best=b""), "damaged"),
    "other shapes": (npz(labels=LABELS, logits_best=LOGITS[:3]), "4 labels for logits of shape"),
    "flat logits": (npz(labels=LABELS, logits_best=LOGITS[:, 0]), "logits_best is float32 of shape"),
    "labels of floats": (npz(labels=LABELS.astype(float), logits_best=LOGITS), "labels is float64"),
    "text": (npz(labels=np.array(["a"] * 4), logits_best=LOGITS), "labels is <U1"),
    "complex": (npz(labels=LABELS, logits_best=LOGITS.astype(complex)), "logits_best is complex128"),
    "no images": (npz(labels=LABELS[:0], logits_best=LOGITS[:0]), "0 labels"),
    "no classes": (npz(labels=LABELS, logits_best=LOGITS[:, :0]), "4 labels for logits of shape"),
    "NaN": (npz(labels=LABELS, logits_best=LOGITS * np.nan), "not finite"),
    "beyond float32": (npz(labels=LABELS, logits_best=LOGITS.astype(float) * 1e300), "not finite"),
    "negative labels": (npz(labels=LABELS - 1, logits_best=LOGITS), "labels outside 0..2"),
    "labels beyond classes": (npz(labels=LABELS + 3, logits_best=LOGITS), "labels outside 0..2"),
    "too many classes": (npz(labels=LABELS, logits_best=np.zeros((4, 5000), np.float32)), "5,000 classes"),
    "huge shape": (npz_of_bytes(labels=GOOD_LABELS, logits_best=npy((10**12, 10**6))), "has shape"),
    "overflowing shape": (npz_of_bytes(labels=GOOD_LABELS, logits_best=npy((2**63, 2**63))), "has shape"),
    "negative shape": (npz_of_bytes(labels=GOOD_LABELS, logits_best=npy((-4, 3))), "has shape"),
    "cut short": (npz_of_bytes(labels=GOOD_LABELS, logits_best=npy((4, 3), content=b"x")), "cut short"),
    "huge header": (npz_of_bytes(labels=b"\x93NUMPY\x02\x00" + b"\xff" * 70_000), "damaged"),
    "deep header": (npz_of_bytes(labels=npy("(" * 5000 + ")" * 5000)), "damaged"),
    "code in header": (npz_of_bytes(labels=npy("__import__('os').mkdir('/tmp/evil-was-here')")), "damaged"),
    "structured": (npz(labels=np.zeros(4, [("a", int)]), logits_best=LOGITS), "labels is [('a'"),
}


@pytest.mark.parametrize("name", BAD_PREDICTIONS)
def test_damaged_or_evil_predictions_are_refused_by_name(tmp_path, name):
    content, reason = BAD_PREDICTIONS[name]
    (tmp_path / "predictions.npz").write_bytes(content)
    with pytest.raises(UnreadableError) as error:
        read_predictions(tmp_path / "predictions.npz")
    assert reason in str(error.value)
    assert len(str(error.value)) < 300
    assert not Path("/tmp/evil-was-here").exists()


def test_predictions_of_any_float_and_integer_type_are_read(tmp_path):
    order = np.asfortranarray(LOGITS.astype(np.float16))
    (tmp_path / "predictions.npz").write_bytes(npz(labels=LABELS.astype(np.uint8), logits_best=order))
    labels, logits = read_predictions(tmp_path / "predictions.npz")
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_array_equal(logits, LOGITS)
    assert (labels.dtype, logits.dtype) == (np.int64, np.float32)


def hostile_runs(folder):
    """Every kind of damage to every file, a folder each."""
    logits = np.eye(10, dtype=np.float32)
    for name in ("config.json", "summary.json", "metrics.jsonl", "predictions.npz"):
        contents = {
            "empty": b"", "binary": bytes(range(256)), "list": b"[1]", "number": b"7", "null": b"null",
            "deep": b"[" * 200_000, "deep object": b'{"a":' * 5000 + b"1" + b"}" * 5000,
            "digits": b'{"step": ' + b"9" * 10_000 + b"}", "half": b'{"config": {"mod',
            "utf-16": "{}".encode("utf-16"),
        }  # fmt: skip
        for kind, content in contents.items():
            (write_run(folder / f"{name} {kind}", logits=logits) / name).write_bytes(content)
        for kind in ("fifo", "link to itself", "link to a device", "folder", "missing"):
            path = write_run(folder / f"{name} {kind}", logits=logits) / name
            path.unlink()
            if kind == "fifo":
                os.mkfifo(path)
            elif kind == "link to itself":
                path.symlink_to(path.name)
            elif kind == "link to a device":
                path.symlink_to("/dev/zero")
            elif kind == "folder":
                path.mkdir()
    for number, value in enumerate(VALUES):
        run = write_run(folder / f"value {number}", logits=logits)
        summary = json.loads((run / "summary.json").read_text())
        (run / "summary.json").write_text(json.dumps(dict.fromkeys(summary, value)))
        config = json.loads((run / "config.json").read_text())
        for group in ("data", "model", "optim", "run"):
            config["config"][group] = dict.fromkeys([*config["config"][group], "milestones", "steps"], value)
        config["data"]["class_names"] = [value] * 10
        config.update(dict.fromkeys(("flags", "versions", "commit", "device"), value))
        (run / "config.json").write_text(json.dumps(config))
        lines = [record("val", 10), *({**record("train", 5), name: value} for name in record("train", 1))]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rng = np.random.default_rng(0)
    for number in range(75):  # with which there are more than 150
        run = write_run(folder / f"damage {number}", logits=logits)
        for name in rng.choice(["config.json", "summary.json", "metrics.jsonl", "predictions.npz"], 2):
            content = bytearray((run / name).read_bytes())
            for _ in range(rng.integers(1, 6)):
                at = int(rng.integers(len(content)))
                content[at : at + int(rng.integers(0, 9))] = rng.bytes(int(rng.integers(0, 9)))
            (run / name).write_bytes(bytes(content))
    (folder / "circle").symlink_to(folder)
    (folder / b"name-\xff-<b>|$x$".decode("utf-8", "surrogateescape")).mkdir()
    write_run(folder / b"name-\xff-<b>|$x$".decode("utf-8", "surrogateescape") / "run")
    return folder


def test_a_report_of_hostile_folders_says_what_it_left_out(tmp_path):
    hostile_runs(tmp_path / "runs")
    assert len(list((tmp_path / "runs").iterdir())) > 150
    write_run(tmp_path / "runs" / "good", logits=np.eye(10, dtype=np.float32))
    notes = write_report([tmp_path / "runs"], tmp_path / "report", title=MARKUP)
    content = json.loads((tmp_path / "report" / "report.json").read_text(), parse_constant=pytest.fail)
    shown = {Path(folder).name for row in content["rows"] for folder in row["folders"]}
    assert "good" in shown
    assert len(content["rows"]) > 10
    html, markdown = ((tmp_path / "report" / f"report.{form}").read_text() for form in ("html", "md"))
    assert "<script" not in html
    assert "<script" not in markdown.replace("\\<", "")
    table = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 2
    parts = ["summary.json is not JSON", "nested too deeply", "not a regular file", "not UTF-8"]
    parts += [f"left out of {name}: " for name in ("summary.json", "config.json", "metrics.jsonl")]
    for part in parts:
        assert any(part in note for note in notes), part
    assert all("\n" not in note and "\x00" not in note for note in notes)


def test_two_data_sets_whose_names_look_alike_have_their_own_curves(tmp_path):
    for place, dataset in enumerate(("a b", "a-b", "中", "文", "x" * 300)):
        write_run(tmp_path / "runs" / str(place), settings={"data": {"dataset": dataset}})
    write_report([tmp_path / "runs"], tmp_path / "report")
    assert len(list((tmp_path / "report").glob("curves*.png"))) == 5


def test_an_unreadable_folder_is_noted(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root reads every folder")
    write_run(tmp_path / "runs" / "good")
    (tmp_path / "runs" / "locked").mkdir(mode=0)
    notes = write_report([tmp_path / "runs"], tmp_path / "report")
    assert any("locked cannot be searched: permission denied" in note for note in notes)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**400)])
    | st.floats()
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
KEYS = [
    *(
        "arch",
        "recipe",
        "dataset",
        "seed",
        "parameters",
        "steps",
        "total_steps",
        "epochs",
        "seconds",
        "device",
    ),
    *("images_per_second", "val_accuracy", "test_accuracy", "test_accuracy_best", "test_loss", "class_names"),
    *("config", "data", "model", "optim", "run", "schedule", "milestones", "mean", "flags", "versions"),
    *("commit", "kind", "step", "epoch", "loss", "accuracy", "images", "which"),
]
objects = st.dictionaries(st.sampled_from(KEYS), json_values, max_size=8)
nested = st.dictionaries(st.sampled_from(KEYS), objects | json_values, max_size=6)
written = st.one_of(json_values, objects, nested).map(lambda value: json.dumps(value).encode())
contents = st.binary(max_size=40) | written
lines = st.lists(contents, max_size=6).map(b"\n".join)
GOOD = npz(labels=LABELS, logits_best=LOGITS)
damaged = st.builds(
    lambda at, patch: GOOD[:at] + patch + GOOD[at + len(patch) :], st.integers(0, 700), st.binary(max_size=8)
)
arrays = (
    st.sampled_from([content for content, _ in BAD_PREDICTIONS.values()]) | damaged | st.binary(max_size=64)
)


def check_row_and_notes(folder, config, summary, metrics, predictions):
    """Whatever a run's files hold makes a row of a report and notes of one line."""
    (folder / "config.json").write_bytes(config)
    (folder / "summary.json").write_bytes(summary)
    (folder / "metrics.jsonl").write_bytes(metrics)
    (folder / "predictions.npz").write_bytes(predictions)
    run = read_run(folder)
    rows = [make_row(group) for group in group_runs([run, read_run(folder)])]
    for columns in (RESULT_COLUMNS, prediction_columns(rows)):
        if columns:
            table_markdown(rows, columns).encode("utf-8")
    for note in run.notes:
        note.encode("utf-8")
        assert "\n" not in note


FILES = {"config": contents, "summary": contents, "metrics": lines, "predictions": arrays}


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(**FILES)
def test_any_content_makes_a_row_and_notes(tmp_path_factory, config, summary, metrics, predictions):
    check_row_and_notes(tmp_path_factory.mktemp("run"), config, summary, metrics, predictions)


@pytest.mark.slow
def test_a_minute_of_any_content(tmp_path):
    go_on(functools.partial(check_row_and_notes, tmp_path), **FILES)


def good_files(folder):
    run = write_run(folder, logits=np.eye(10, dtype=np.float32))
    names = {"config": "config.json", "summary": "summary.json", "metrics": "metrics.jsonl"}
    return {
        key: (run / name).read_bytes() for key, name in {**names, "predictions": "predictions.npz"}.items()
    }


@pytest.mark.slow
def test_a_minute_of_damage(tmp_path):
    whole = good_files(tmp_path / "whole")
    (tmp_path / "run").mkdir()

    def check(**changes):
        files = {name: damaged_by(whole[name], changes[name]) for name in whole}
        check_row_and_notes(tmp_path / "run", **files)

    go_on(check, **dict.fromkeys(whole, damages()))
