"""What is printed."""

import json

import pytest

from experiments.doctor.finding import note, ok, problem
from experiments.doctor.text import as_json, finding_lines, verdict

FINDINGS = [ok("a", "1"), note("b", "2"), problem("c", "3", "do 4", number=5)]


def test_a_problem_has_a_line_of_what_to_do():
    assert [finding_lines(finding) for finding in FINDINGS] == [
        ["  a            1"],
        ["- b            2"],
        ["! c            3", "               -> do 4"],
    ]


def test_names_cannot_break_lines_or_send_control_characters(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (line,) = finding_lines(ok("run", f"{tmp_path}/a\nb\x1b[31m\u202e"))
    assert line == "  run          ~/a b [31m "
    (line,) = finding_lines(ok("run", "x" * 10_000))
    assert len(line) < 700


def test_the_verdict_counts_problems():
    assert verdict(FINDINGS[:2], 8.2) == "healthy: no problem found (8 s)"
    assert verdict(FINDINGS, 8.2).startswith("1 problem found")
    assert verdict(FINDINGS * 2, 8.2).startswith("2 problems found")


def test_json_has_everything():
    content = json.loads(as_json(FINDINGS, {"a": 1.0}))
    assert content["healthy"] is False
    assert [finding["status"] for finding in content["findings"]] == ["ok", "note", "problem"]
    assert content["findings"][2]["values"] == {"number": 5}
    assert content["seconds"] == {"a": 1.0}


def test_json_has_no_numbers_that_are_none():
    findings = [problem("a", "wrong", "do 1", deviation=float("nan"), all=[float("inf"), 1.5])]
    content = json.loads(as_json(findings, {"a": 1.0}), parse_constant=pytest.fail)
    assert content["findings"][0]["values"] == {"deviation": None, "all": [None, 1.5]}
