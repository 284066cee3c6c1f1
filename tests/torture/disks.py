"""Full disks: a run on a file system of every size up to what it needs, which then grows."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.torture.common import (
    FLAGS,
    OFTEN,
    Programs,
    Row,
    count,
    expect,
    expect_same_end,
    expect_whole,
    steps,
)

# KiB: from no room for the settings to no room for a third checkpoint.
SIZES = (8, 100, 400, 700, 1000, 1400, 1700, 2000)
SHORT = ("--epochs", "1")


def disks(programs: Programs, sizes: int) -> list[Row]:
    """A try per size: one line that names the disk, what was finished kept, and the end as if nothing was."""
    fault = f"full disk, {sizes} sizes"
    reference = programs.folder / "reference-disk"
    try:
        with disk(programs.folder, 8):
            pass
    except OSError as error:
        return [Row(fault, 0, 0, f"not run: {error}")]
    programs.train(reference, *FLAGS, *SHORT)
    return [count(fault, [lambda kib=kib: fill(programs, kib, reference) for kib in SIZES[-sizes:]])]


@contextlib.contextmanager
def disk(folder: Path, kib: int) -> Iterator[Path]:
    """A file system of this size.

    Raises:
        OSError: None can be mounted.
    """
    path = folder / "disk"
    path.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", path], capture_output=True, text=True
    )
    if mounted.returncode:
        raise OSError(f"no file system can be mounted: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def fill(programs: Programs, kib: int, reference: Path) -> None:
    with disk(programs.folder, kib) as path:
        workdir = path / "run"
        command = ("-m", "experiments.cifar10", "--workdir", workdir)
        code, error = programs.run(*command, *FLAGS, *SHORT, *OFTEN)
        expect(code == 1, f"{kib} KiB: exit code {code}: {error[-200:]}")
        line = error.strip()
        expect(line.count("\n") == 0 and line.startswith("error: "), f"{kib} KiB: not one line: {line[:500]}")
        expect("disk is full" in line or "No space left" in line, f"{kib} KiB: {line[:300]}")
        expect(str(path) in line, f"{kib} KiB: the file is not named: {line[:300]}")
        left = [name for _, folders, files in os.walk(path) for name in (*folders, *files) if "tmp" in name]
        expect(not left, f"{kib} KiB: left behind: {left}")
        expect_whole(workdir)
        kept = steps(workdir)
        subprocess.run(["mount", "-o", "remount,size=20m", path], check=True)
        begun = (workdir / "config.json").exists() or kept
        programs.train(workdir, *(["--resume"] if begun else ["--overwrite", *FLAGS, *SHORT]))
        expect_same_end(workdir, reference)
