import json
import os

import pytest

from experiments.runs.records import read_records, read_records_with_notes
from tests.helpers.run_folders import record

GOOD = record("train", 5, grad_norm=1.0, images_per_second=None)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"\xff\xfe", "not UTF-8"),
        (b'{"kind": "train", "st', "not JSON"),
        (b"[1,2]", "not a JSON object"),
        (b"7", "not a JSON object"),
        (b'{"kind": "train"}', "without step"),
        (b"[" * 100_000, "nested too deeply|not JSON"),
        (json.dumps(record("train", 10, loss=float("nan"))).encode(), "loss is not a finite number"),
        (json.dumps(record("train", 10, loss=1e300)).encode(), "loss is not a finite number"),
        (json.dumps(record("train", -10)).encode(), "step is not a whole number"),
        (json.dumps(record("train", True)).encode(), "step is not a whole number"),
        (json.dumps(record("train", 10, epoch="2")).encode(), "epoch is not a number"),
        (json.dumps(record("val", 10, accuracy=1.5)).encode(), "accuracy is not a number from 0 to 1"),
        (json.dumps(record("test", 10, images=None)).encode(), "images is not a whole number"),
        (json.dumps(record("train", 10, seconds="long")).encode(), "seconds is not a number"),
        (json.dumps(record("other", 10, more=float("inf"))).encode(), "'more' is not finite"),
        (json.dumps(record([1], 10)).encode(), "kind is not text"),
        (b'{"kind": "train", "step": ' + b"9" * 5000 + b"}", "not JSON"),
        (b"{" + b" " * 70_000 + b"}", "not JSON"),
    ],
)
def test_an_invalid_line_is_left_out_and_noted(tmp_path, line, problem):
    good = json.dumps(GOOD).encode()
    (tmp_path / "metrics.jsonl").write_bytes(good + b"\n" + line + b"\n\n" + good + b"\n")
    records, [note] = read_records_with_notes(tmp_path / "metrics.jsonl")
    assert records == [GOOD, GOOD] == read_records(tmp_path / "metrics.jsonl")
    assert note.startswith("left out of metrics.jsonl: 1 line (line 2 is ")
    assert any(part in note for part in problem.split("|"))


def test_a_last_line_cut_short_by_a_crash_is_no_note(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(json.dumps(GOOD) + '\n{"kind": "tra')
    assert read_records_with_notes(tmp_path / "metrics.jsonl") == ([GOOD], [])


def test_a_missing_file_holds_nothing(tmp_path):
    assert read_records_with_notes(tmp_path / "metrics.jsonl") == ([], [])


def test_records_of_other_kinds_need_no_measurements(tmp_path):
    other = {"kind": "preempted", "step": 3, "epoch": 0.3, "signal": "SIGTERM"}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(other) + "\n")
    assert read_records_with_notes(tmp_path / "metrics.jsonl") == ([other], [])


def test_many_invalid_lines_make_one_short_note(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("x\n" * 1000)
    _, [note] = read_records_with_notes(tmp_path / "metrics.jsonl")
    assert note.startswith("left out of metrics.jsonl: 1,000 lines (line 1 is not JSON; ")
    assert note.endswith("and 997 more)")


def test_size_and_lines_are_bounded(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text((json.dumps(GOOD) + "\n") * 10)
    records, notes = read_records_with_notes(metrics, max_lines=4)
    assert len(records) == 4
    assert notes == ["left out of metrics.jsonl: all after line 4"]
    records, [note] = read_records_with_notes(metrics, max_bytes=100)
    assert records == []
    assert "more than" in note


@pytest.mark.parametrize("kind", ["fifo", "folder", "dangling", "device"])
def test_what_is_no_regular_file_is_left_out_at_once(tmp_path, kind):
    metrics = tmp_path / "metrics.jsonl"
    {
        "fifo": lambda: os.mkfifo(metrics),
        "folder": metrics.mkdir,
        "dangling": lambda: metrics.symlink_to("nowhere"),
        "device": lambda: metrics.symlink_to("/dev/zero"),
    }[kind]()
    records, [note] = read_records_with_notes(metrics)
    assert records == []
    assert note.startswith("metrics.jsonl is left out: ")
