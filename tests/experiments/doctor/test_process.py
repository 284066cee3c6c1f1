"""Checks run in processes of their own: what goes wrong in one is a finding and loses no other."""

import importlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.doctor.checks import ACCELERATOR, MACHINE, RUN
from experiments.doctor.config import DoctorConfig
from experiments.doctor.finding import Check, Finding
from experiments.doctor.process import Ended, run_checks

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def path(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def check(name, seconds=20.0, **fields):
    return Check(name, f"tests.experiments.doctor.faulty:{name}", seconds, **fields)


def run(*checks):
    events = list(run_checks(checks, DoctorConfig()))
    assert [event.name for event in events if isinstance(event, Ended)] == [check.name for check in checks]
    return [event for event in events if isinstance(event, Finding)]


def test_findings_arrive_in_order():
    first, second = run(check("fine"), check("prints"))
    assert (first.label, first.text, first.values) == ("fine", "works", {"number": 1})
    assert second.text == "works"


def test_an_exception_is_a_problem_with_its_place():
    _, found, after = run(check("raises"), check("fine"))
    assert found.status == "problem"
    assert re.fullmatch(r"ValueError at faulty\.py:\d+: first line second line", found.text)
    assert "report this" in found.advice
    assert after.text == "works"


def test_an_error_for_users_is_its_message():
    ours, full, after = run(check("raises_ours"), check("no_disk"), check("fine"))
    assert ours.text == "the data set is damaged"
    assert "No space left on device" in full.text
    assert ours.status == full.status == "problem"
    assert after.status == "ok"


def test_a_crash_is_a_problem_and_the_rest_runs():
    first, found, after = run(check("crashes"), check("fine"))
    assert first.text == "first"
    assert found.status == "problem"
    assert "was ended by SIGSEGV: F0000 the last words" in found.text
    assert after.text == "works"


def test_an_exit_is_a_problem():
    found, after = run(check("exits"), check("fine"))
    assert "ended with status 3" in found.text
    assert after.status == "ok"


def test_a_hang_is_a_problem_after_its_time():
    start = time.monotonic()
    _, found, after = run(check("hangs", seconds=10.0), check("fine"))
    assert time.monotonic() - start < 60
    assert "no answer within 10 s" in found.text
    assert after.text == "works"


def test_a_module_that_cannot_be_imported_is_a_problem():
    found, after = run(Check("missing", "tests.experiments.doctor.missing:check"), check("fine", alone=True))
    assert "ModuleNotFoundError" in found.text
    assert "install what is missing" in found.advice
    assert after.status == "ok"


def test_no_interpreter_is_a_problem(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    first, second = run(check("fine"), check("prints"))
    assert first.status == second.status == "problem"
    assert "no process could be started" in first.text


def test_the_process_ends_with_the_one_that_started_it(tmp_path):
    program = (
        "from experiments.doctor.process import run_checks\n"
        "from experiments.doctor.config import DoctorConfig\n"
        "from experiments.doctor.finding import Check\n"
        "import os, signal\n"
        "checks = [Check('hangs', 'tests.experiments.doctor.faulty:hangs')]\n"
        "for event in run_checks(checks, DoctorConfig()):\n"
        "    found = os.popen(f'pgrep -P {os.getpid()}').read().split()\n"
        "    print(found[0], flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    child = int(done.stdout)
    for _ in range(100):
        if not os.path.exists(f"/proc/{child}") or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]:
            return
        time.sleep(0.1)
    pytest.fail("the child goes on without its parent")


def test_every_check_names_a_function():
    for check in (*MACHINE, *RUN, *ACCELERATOR):
        module, _, function = check.function.partition(":")
        assert callable(getattr(importlib.import_module(module), function))
