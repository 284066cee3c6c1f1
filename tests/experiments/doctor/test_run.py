"""The doctor on run folders: what is good, what is damaged, and nothing changes."""

import json
import os
import shutil

import pytest

from experiments.doctor.checks import RUN
from experiments.doctor.child import run_check
from experiments.doctor.config import DoctorConfig
from experiments.runs.lock import FolderLock
from tests.helpers.run_folders import write_run


@pytest.fixture
def run(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def listing(folder):
    """Names, sizes and times of all below a folder."""
    found = {}
    for root, folders, names in os.walk(folder):
        for name in (*folders, *names):
            status = os.lstat(os.path.join(root, name))
            found[os.path.join(root, name)] = (status.st_size, status.st_mtime_ns, status.st_ino)
    return found


def look(folder):
    before = listing(folder)
    config = DoctorConfig(run=str(folder))
    findings = [finding for check in RUN for finding in run_check(check, config)]
    assert listing(folder) == before
    assert not [finding for finding in findings if "report this" in finding.advice], findings
    assert all(finding.advice for finding in findings if finding.status == "problem")
    return findings


def about(findings, label):
    return [finding for finding in findings if finding.label == label]


def statuses(findings):
    return {finding.label: finding.status for finding in findings if finding.status != "ok"}


def newest(run):
    return max((run / "checkpoints").iterdir(), key=lambda folder: int(folder.name))


def test_a_finished_run_is_healthy(run):
    findings = look(run)
    assert statuses(findings) == {}
    (settings,) = about(findings, "settings")
    assert settings.text.startswith("resnet8 on digits, recipe standard")
    (resume,) = about(findings, "resume")
    assert "the run is finished" in resume.text
    *_, last = about(findings, "checkpoint")
    assert "last" in last.text
    assert any("best" in finding.text for finding in about(findings, "checkpoint"))
    assert about(findings, "lock")[0].text == "free"


@pytest.mark.parametrize("name", ["state", "training", "config/metadata", "manifest.json"])
def test_a_damaged_checkpoint_is_named_with_the_step_that_resume_takes(run, name):
    folder = newest(run)
    target = folder / name
    if target.is_dir():
        target = max(
            (file for file in target.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size
        )
    target.write_bytes(target.read_bytes()[: target.stat().st_size // 2])
    findings = look(run)
    damaged = [finding for finding in about(findings, "checkpoint") if finding.status == "problem"]
    assert [finding.values["step"] for finding in damaged] == [int(folder.name)]
    (resume,) = about(findings, "resume")
    steps = sorted(int(path.name) for path in (run / "checkpoints").iterdir())
    assert resume.values["step"] == steps[-2]
    assert f"goes on from step {steps[-2]}, passing over 1 damaged" in resume.text
    assert "python -m experiments.cifar10 --resume --workdir " in resume.text


def test_a_run_without_a_good_checkpoint_cannot_go_on(run):
    for folder in (run / "checkpoints").iterdir():
        (folder / "manifest.json").write_text("{}")
    findings = look(run)
    assert about(findings, "resume")[0].status == "problem"
    assert "repeat the command that began it, with --overwrite" in about(findings, "resume")[0].advice
    content = json.loads((run / "config.json").read_text())
    content["config"]["data"]["data_dir"] = None
    (run / "config.json").write_text(json.dumps(content))
    advice = about(look(run), "resume")[0].advice
    assert "start anew: python -m experiments.cifar10 --arch resnet8 --recipe standard --dataset" in advice
    assert "--batch-size 32" in advice
    assert advice.endswith(f" --overwrite --workdir {run}")


def test_what_was_set_aside_is_named(run):
    (run / "checkpoints" / "1.unreadable").mkdir()
    (note,) = [found for found in about(look(run), "checkpoints") if "1.unreadable" in found.text]
    assert "rename them back" in note.advice


def test_a_checkpoint_without_checksums_is_read_whole(run):
    (newest(run) / "manifest.json").unlink()
    assert "without checksums" in about(look(run), "checkpoint")[-1].text
    victim = max((newest(run) / "state").rglob("*"), key=lambda file: file.stat().st_size)
    victim.write_bytes(b"")
    assert about(look(run), "checkpoint")[-1].status == "problem"


def test_lost_settings_come_from_a_checkpoint(run):
    (run / "config.json").write_bytes(b"\xff{")
    (settings,) = about(look(run), "settings")
    assert settings.status == "note"
    assert "a checkpoint has them: resnet8 on digits" in settings.text
    shutil.rmtree(run / "checkpoints")
    (settings,) = about(look(run), "settings")
    assert settings.status == "problem"
    assert "cannot be resumed" in settings.text


def test_records_leftovers_lock_and_disk(run, monkeypatch):
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b'[1, 2]\n\xff\n{"kind": "tr')
    (run / "checkpoints" / "99.orbax-checkpoint-tmp").mkdir()
    (run / "checkpoints" / "99.orbax-checkpoint-tmp" / "part").write_bytes(b"x")
    monkeypatch.setattr("experiments.doctor.run_checkpoints.free_gib", lambda folder: 1e-6)
    lock = FolderLock(run)
    try:
        findings = look(run)
    finally:
        lock.release()
    notes = {finding.label: finding.text for finding in findings if finding.status != "ok"}
    assert "2 lines" in notes["records"]
    assert "1 of killed saves" in notes["leftovers"]
    assert f"number {os.getpid()}" in notes["lock"]
    assert "a checkpoint takes" in notes["disk"]


def test_a_killed_runs_lock_is_free(run):
    (run / ".lock").touch()
    (run / "metrics.jsonl").write_bytes((run / "metrics.jsonl").read_bytes() + b'{"kind"')
    (run / "summary.json").unlink()
    findings = look(run)
    assert about(findings, "lock")[0].text.startswith("free; the file .lock is a killed run's")
    assert any("cut short" in finding.text for finding in about(findings, "records"))
    assert "goes on from step" in about(findings, "resume")[0].text


def test_folders_that_hold_no_run(tmp_path, run):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for name, text in (("none", "does not exist"), ("file", "is a file"), ("empty", "holds no run")):
        (found,) = look(tmp_path / name)
        assert found.status == "problem"
        assert text in found.text
    (found,) = look(tmp_path)
    assert found.status == "note"
    assert "1 below: run" in found.text


def test_a_single_checkpoint(run):
    run, single = look(newest(run))
    assert single.text.startswith("good")


def write_config(folder, text):
    (folder / "config.json").write_text(text)


def replace_by_pipe(folder, name):
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)


def make_step(folder, name, kind):
    (folder / "checkpoints").mkdir()
    path = folder / "checkpoints" / name
    if kind == "file":
        path.touch()
    elif kind == "link":
        path.symlink_to("nowhere")
    elif kind == "loop":
        path.symlink_to(folder)
    else:
        path.mkdir()


HOSTILE = {
    "nested": lambda folder: write_config(folder, "[" * 100_000),
    "list": lambda folder: write_config(folder, "[1]"),
    "mistyped": lambda folder: write_config(
        folder, json.dumps({"config": {"model": {"arch": [1]}, "run": 7}})
    ),
    "absurd": lambda folder: write_config(
        folder, json.dumps({"config": {"model": {"arch": "resnet2000000"}}})
    ),
    "escape": lambda folder: write_config(folder, json.dumps({"config": {"recipe": "\x1b[2J\n"}})),
    "config pipe": lambda folder: replace_by_pipe(folder, "config.json"),
    "metrics pipe": lambda folder: replace_by_pipe(folder, "metrics.jsonl"),
    "summary pipe": lambda folder: replace_by_pipe(folder, "summary.json"),
    "lock pipe": lambda folder: replace_by_pipe(folder, ".lock"),
    "lock folder": lambda folder: (folder / ".lock").mkdir(),
    "lock link": lambda folder: (folder / ".lock").symlink_to("/dev/zero"),
    "summary": lambda folder: (folder / "summary.json").write_text('{"steps": NaN, "total_steps": "x"}'),
    "checkpoints file": lambda folder: (folder / "checkpoints").touch(),
    "step file": lambda folder: make_step(folder, "5", "file"),
    "step link": lambda folder: make_step(folder, "5", "link"),
    "step loop": lambda folder: make_step(folder, "5", "loop"),
    "step empty": lambda folder: make_step(folder, "5", "folder"),
    "step huge": lambda folder: make_step(folder, "9" * 200, "folder"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_folder_ends_in_clear_lines(tmp_path, name):
    folder = write_run(tmp_path / "run")
    HOSTILE[name](folder)
    look(folder)


@pytest.mark.parametrize("content", ["[]", "1", '{"config": {}}', '{"item_names": 5}'])
def test_a_strange_checkpoint_is_damaged(run, content):
    folder = newest(run)
    (folder / "manifest.json").unlink()
    (folder / "config" / "metadata").write_text(content)
    (folder / "_CHECKPOINT_METADATA").write_text(content)
    findings = [finding for finding in about(look(run), "checkpoint") if finding.status == "problem"]
    assert [finding.values["step"] for finding in findings] == [int(folder.name)]
