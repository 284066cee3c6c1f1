"""kill -9 at random moments of starts, steps, saves and evaluations, until the run is through."""

import random
import shutil
import time
from collections import Counter
from pathlib import Path

from tests.torture.common import (
    FLAGS,
    OFTEN,
    LostError,
    Programs,
    Row,
    expect,
    expect_same_end,
    expect_whole,
    kill,
    records,
    steps,
)

EPOCHS = ("--epochs", "4")


def kills(programs: Programs, tries: int, seed: int) -> list[Row]:
    """Kills one run again and again; when it is through, compares it and begins another."""
    rng = random.Random(seed)
    reference, workdir = programs.folder / "reference", programs.folder / "killed"
    programs.train(reference, *FLAGS, *EPOCHS)
    done, lost, runs = Counter(), Counter(), 0
    phases = [("start", tries // 4), ("training, saves, evaluations", tries - tries // 4)]
    while sum(done.values()) < tries:
        phase = rng.choice([name for name, wanted in phases if done[name] < wanted])
        try:
            killed = kill_once(programs, workdir, phase == "start", rng)
            done[phase] += killed
            if not killed:
                expect_same_end(workdir, reference)
                shutil.rmtree(workdir)
                runs += 1
        except LostError as error:
            print(f"  lost, kill -9 in {phase}: {error}", flush=True)
            lost[phase] += 1
            shutil.rmtree(workdir, ignore_errors=True)
    try:
        if workdir.exists():
            programs.train(workdir, *start_or_resume(workdir))
            expect_same_end(workdir, reference)
            runs += 1
    except LostError as error:
        print(f"  lost, the last run: {error}", flush=True)
        lost[phases[1][0]] += 1
    note = f"{runs} runs to the end, equal to the uninterrupted one to the bit"
    return [Row(f"kill -9: {name}", done[name], lost[name], note) for name, _ in phases]


def start_or_resume(workdir: Path) -> list[str]:
    """The flags that a person would use: a folder in which nothing was begun cannot be resumed."""
    begun = (workdir / "config.json").exists() or steps(workdir)
    return ["--resume", *OFTEN] if begun else [*FLAGS, *EPOCHS, *OFTEN]


def kill_once(programs: Programs, workdir: Path, early: bool, rng: random.Random) -> bool:
    """Kills the run once; False if it came to its end before."""
    before = steps(workdir)
    last = records(workdir, "train")[-1:]
    process = programs.start("-m", "experiments.cifar10", "--workdir", workdir, *start_or_resume(workdir))
    if early:
        wait(process, rng.uniform(0, 8), lambda: False)
    else:
        wait(
            process, 120, lambda: records(workdir, "train")[-1:] not in ([], last) and grown(workdir, before)
        )
        wait(process, rng.uniform(0, 2), lambda: False)
    ended = process.poll() is not None
    if ended:
        _, error = process.communicate()
        expect(process.returncode == 0, f"exit code {process.returncode}: {error[-300:]}")
    else:
        kill(process)
    expect_whole(workdir)
    newest = max(before, default=-1)
    expect(max(steps(workdir), default=-1) >= newest, f"checkpoint {newest} is gone")
    return not ended


def grown(workdir: Path, before: list[int]) -> bool:
    return bool(steps(workdir)) and steps(workdir) != before


def wait(process, seconds: float, condition) -> None:
    """Until the process ends, the condition holds or the time is over."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline and not condition():
        time.sleep(0.02)
