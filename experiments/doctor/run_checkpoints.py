"""A run's checkpoints: each is read whole; what ``--resume`` would do. Changes nothing."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import orbax.checkpoint as ocp
from absl import logging as absl_logging

from experiments.doctor.config import DoctorConfig
from experiments.doctor.finding import Finding, note, ok, problem
from experiments.doctor.machine import free_gib
from experiments.program.errors import how_to_resume
from experiments.runs.ending import read_summary
from experiments.runs.reading import UnreadableError
from experiments.settings.command import command_of, program_of
from experiments.settings.config import Config
from experiments.settings.resume import saved_config
from jax_resnet._text import first_line
from jax_resnet.checkpoint import CHECKPOINTS, is_checkpoint, manifest, restore
from jax_resnet.checkpoint.retention import best
from jax_resnet.checkpoint.steps import accuracies, complete_steps
from jax_resnet.errors import CheckpointError

__all__ = ["checkpoints"]

MIB, GIB = 2**20, 2**30
MOST_STEPS = 50


def checkpoints(config: DoctorConfig) -> Iterator[Finding]:
    """Which checkpoints are good, what is damaged and why, and from where the run goes on."""
    absl_logging.set_verbosity(absl_logging.ERROR)  # orbax logs every file otherwise
    run = Path(config.run).absolute()
    if not run.is_dir():
        return
    if is_checkpoint(run):
        reason = why_damaged(run)
        size = folder_bytes(run) / MIB
        if reason:
            yield problem("checkpoint", f"damaged: {reason}", "export it again from its run")
        else:
            yield ok("checkpoint", f"good, {size:.1f} MiB")
        return
    folder = run / CHECKPOINTS
    if not folder.is_dir():
        if finished(run):
            yield note("checkpoints", "none, and the run is finished: they were not kept")
        elif saved_config(run) is not None:
            yield note("checkpoints", "none yet", f"{command(run)} starts from step 0")
        return
    yield from leftovers(folder)
    if aside := sorted(entry.name for entry in folder.glob("*.unreadable*")):
        text = f"{', '.join(aside)}: could not be read when the run was resumed, and may be whole"
        yield note("checkpoints", text, "delete them if the run has gone on well; else rename them back")
    steps = complete_steps(folder)
    if len(steps) > MOST_STEPS:
        yield note("checkpoints", f"{len(steps):,} of them: the newest {MOST_STEPS} are looked at")
        steps = steps[-MOST_STEPS:]
    good: list[int] = []
    known = accuracies(folder)
    chosen = best(known, among=steps)
    for step in steps:
        finding = look_at(
            folder / str(step), known.get(step), is_best=step == chosen, is_last=step == steps[-1]
        )
        good += [step] if finding.status == "ok" else []
        yield finding
    yield from resume(run, steps, good)
    if chosen is not None and chosen not in good:
        text = f"the best checkpoint, of step {chosen}, is lost"
        yield problem("best", text, "the run goes on, and reports the last one unless a later one is better")
    if good:
        yield room(folder, folder_bytes(folder / str(good[-1])))


def leftovers(folder: Path) -> Iterator[Finding]:
    """What killed saves left behind."""
    suffix = ocp.path.atomicity_types.TMP_DIR_SUFFIX
    found = [entry for entry in folder.iterdir() if suffix in entry.name]
    if found:
        size = sum(map(folder_bytes, found)) / MIB
        text = f"{len(found)} of killed saves, {size:.1f} MiB, such as {found[0].name}"
        yield note("leftovers", text, "nothing to do: they are removed when the run is next opened")


def look_at(folder: Path, accuracy: float | None, *, is_best: bool, is_last: bool) -> Finding:
    """One checkpoint, verified by its checksums and read whole."""
    reason = why_damaged(folder)
    which = "".join(f", {word}" for word, applies in (("best", is_best), ("last", is_last)) if applies)
    value = "" if accuracy is None else f", validation accuracy {accuracy:.2%}"
    name = f"step {folder.name}{which}{value}"
    if reason:
        advice = "--resume, evaluate and export pass over it"
        return problem("checkpoint", f"{name}: damaged: {reason}", advice, step=int(folder.name), good=False)
    sums = "" if manifest.exists(folder) else ", without checksums"
    size = folder_bytes(folder) / MIB
    return ok("checkpoint", f"{name}: good, {size:.1f} MiB{sums}", step=int(folder.name), good=True)


def why_damaged(folder: Path) -> str:
    """What is wrong with a checkpoint; empty if it can be used."""
    if trouble := manifest.damage(folder):
        return trouble
    try:
        restore(folder)
    except CheckpointError as error:
        return first_line(error).removeprefix(f"the checkpoint {folder} ")
    except Exception as error:  # whatever a strange folder makes libraries raise
        return f"{type(error).__name__}: {first_line(error)}"
    return ""


def resume(run: Path, steps: list[int], good: list[int]) -> Iterator[Finding]:
    """From which step the run would go on."""
    saved = saved_config(run)
    if saved is None:
        return  # the settings' finding has said it
    if good and finished(run, good[-1]):
        yield ok("resume", f"the run is finished, at step {good[-1]:,}", step=good[-1])
    elif good:
        passed = (
            f", passing over {len(steps) - steps.index(good[-1]) - 1} damaged"
            if good[-1] != steps[-1]
            else ""
        )
        yield ok("resume", f"goes on from step {good[-1]:,}{passed}: {command(run)}", step=good[-1])
    elif steps:
        advice = f"save what you need, then {start_anew(run, saved)}"
        yield problem("resume", "not possible: no checkpoint is good", advice)
    else:
        yield note("resume", "no checkpoint yet: starts from step 0", command(run))


def finished(run: Path, step: int | None = None) -> bool:
    """Whether, by its summary, the run has come to its end; with ``step``, whether that is the last."""
    try:
        summary = read_summary(run)
    except UnreadableError:
        return False
    reached: int = summary["steps"] if step is None else step
    return reached >= summary["total_steps"]


def command(run: Path) -> str:
    """The command that resumes a run."""
    saved = saved_config(run)
    module, _ = program_of(saved.data.dataset if saved else "cifar10")
    return f"python -m {module} {how_to_resume(shown(run))}"


def start_anew(run: Path, saved: Config) -> str:
    """How to train the run again, in the same folder: ``--overwrite`` takes no settings from there."""
    again = command_of(saved)
    if again is None or saved.data.data_dir:
        return "repeat the command that began it, with --overwrite"
    return f"start anew: {again} --overwrite --workdir {shlex.quote(str(shown(run)))}"


def shown(run: Path) -> Path:
    """The folder, relative to the present one where it is below it."""
    try:
        return run.relative_to(Path.cwd())
    except (ValueError, OSError):
        return run


def room(folder: Path, size: int) -> Finding:
    """Whether the disk has room for the next checkpoint."""
    free = free_gib(folder)
    text = f"{free:.1f} GiB free, a checkpoint takes {size / MIB:.1f} MiB"
    if free * GIB < 2 * size:
        return problem("disk", text, "free some space before the run goes on", free_gib=free)
    return ok("disk", text, free_gib=free)


def folder_bytes(folder: Path) -> int:
    """Size of all files below a folder; links are not followed."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except OSError:  # deleted meanwhile
                continue
    return total
