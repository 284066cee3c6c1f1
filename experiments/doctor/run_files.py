"""The files of a run folder: settings, records, summary, lock. Changes nothing."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from experiments.doctor.config import DoctorConfig
from experiments.doctor.finding import Finding, note, ok, problem
from experiments.runs.ending import read_summary
from experiments.runs.folder import OURS
from experiments.runs.lock import FolderLock, is_locked
from experiments.runs.reading import MIB, UnreadableError, read_bytes, read_json
from experiments.runs.records import read_records_with_notes
from experiments.settings.config import Config
from experiments.settings.resume import read_config, saved_config
from jax_resnet.checkpoint import is_checkpoint

__all__ = ["files", "holds_run"]

LARGEST_METRICS, MOST_LINES = 256 * MIB, 1_000_000
NAMED_RUNS = 5


def files(config: DoctorConfig) -> Iterator[Finding]:
    """What a run wrote beside its checkpoints."""
    run = Path(config.run)
    if not run.is_dir():
        what = "is a file, not a folder" if run.exists() else "does not exist"
        yield problem("run", f"{run} {what}", "name the folder of a run, as --workdir had it")
        return
    if is_checkpoint(run):
        yield ok("run", f"{run} is a single checkpoint, exported or of one step")
        return
    if not holds_run(run):
        inside = [entry for entry in sorted(run.iterdir()) if entry.is_dir() and holds_run(entry)]
        if inside:
            more = f" and {len(inside) - NAMED_RUNS} more" if len(inside) > NAMED_RUNS else ""
            names = ", ".join(entry.name for entry in inside[:NAMED_RUNS])
            yield note(
                "run",
                f"{run} holds no run itself, and {len(inside)} below: {names}{more}",
                "name one of them",
            )
        else:
            yield problem("run", f"{run} holds no run", "name the folder of a run, as --workdir had it")
        return
    yield from settings(run)
    yield from records(run)
    yield from summary(run)
    yield lock(run)


def holds_run(folder: Path) -> bool:
    """Whether a folder has any file of a run."""
    return any((folder / name).exists() for name in OURS)


def settings(run: Path) -> Iterator[Finding]:
    """The settings, from ``config.json`` or from a checkpoint."""
    if (found := read_config(run / "config.json")) is not None:
        yield ok("settings", describe(found))
        return
    try:
        read_json(run / "config.json")
        why = "config.json holds no settings of these programs"
    except UnreadableError as error:
        why = f"config.json: {error}"
    if (found := saved_config(run)) is not None:
        yield note(
            "settings", f"{why}; a checkpoint has them: {describe(found)}", "--resume writes config.json anew"
        )
    else:
        advice = "checkpoints can still be evaluated and exported; to train on, start a new run"
        yield problem("settings", f"{why}, and no checkpoint has them: the run cannot be resumed", advice)


def describe(config: Config) -> str:
    """A run in words."""
    model, data = config.model, config.data
    return f"{model.arch} on {data.dataset}, recipe {config.recipe}, {model.dtype}, seed {config.run.seed}"


def records(run: Path) -> Iterator[Finding]:
    """The records in ``metrics.jsonl``."""
    metrics = run / "metrics.jsonl"
    found, notes = read_records_with_notes(metrics, max_bytes=LARGEST_METRICS, max_lines=MOST_LINES)
    if not metrics.exists() and not metrics.is_symlink():
        yield note("records", "no metrics.jsonl: the run has recorded nothing yet")
        return
    counts = Counter(record["kind"] for record in found)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common(5))
    last = max((record["step"] for record in found), default=0)
    yield ok("records", f"{len(found):,} ({kinds}), to step {last:,}" if found else "none")
    for text in notes:
        advice = "--resume goes on without these lines"
        if text.startswith("metrics.jsonl is left out"):
            advice = "nothing to do: --resume reads it" if "more than the" in text else "make it readable"
        yield note("records", text, advice)
    if not notes and ends_within_line(metrics):
        yield note("records", "the last line is cut short, as by a kill", "nothing to do: --resume drops it")


def ends_within_line(metrics: Path) -> bool:
    """Whether the file's last line has no end."""
    try:
        content = read_bytes(metrics, LARGEST_METRICS)
    except UnreadableError:
        return False
    return bool(content) and not content.endswith(b"\n")


def summary(run: Path) -> Iterator[Finding]:
    """The summary, which a run that went to its end has."""
    if not (run / "summary.json").exists():
        yield ok("summary", "none: the run has not come to its end")
        return
    try:
        found = read_summary(run)
    except UnreadableError as error:
        yield note("summary", f"summary.json: {error}", "--resume writes it anew at the run's end")
    else:
        steps, total, accuracy = (found[name] for name in ("steps", "total_steps", "test_accuracy"))
        yield ok("summary", f"{steps:,} of {total:,} steps, test accuracy {accuracy:.2%}")


def lock(run: Path) -> Finding:
    """Whether a process is running in the folder."""
    try:
        held = is_locked(run)
    except OSError as error:
        return problem("lock", f"{FolderLock.NAME}: {error.strerror}", f"remove {run / FolderLock.NAME}")
    if held:
        holder = holder_of(run / FolderLock.NAME)
        text = f"a process is running in this folder{holder}: what is said here may change"
        return note("lock", text, "--resume is refused until it ends")
    if (run / FolderLock.NAME).exists():
        return ok("lock", "free; the file .lock is a killed run's, and in nobody's way")
    return ok("lock", "free")


def holder_of(lock_file: Path) -> str:
    """The holder's process number in words, where the system tells."""
    try:
        inode = lock_file.stat().st_ino
        lines = read_bytes(Path("/proc/locks"), MIB).decode(errors="replace").splitlines()
    except (UnreadableError, OSError):
        return ""
    pids = [parts[4] for parts in map(str.split, lines) if len(parts) > 5 and parts[5].endswith(f":{inode}")]
    return f", number {pids[0]}" if pids else ""
