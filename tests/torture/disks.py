"""Full disks: a run on a file system of every size up to what it needs, which then grows."""

import os
from pathlib import Path

from tests.helpers.disk import grow, mounted
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
        with mounted(programs.folder / "disk", 8):
            pass
    except OSError as error:
        return [Row(fault, 0, 0, f"not run: {error}")]
    programs.train(reference, *FLAGS, *SHORT)
    return [count(fault, [lambda kib=kib: fill(programs, kib, reference) for kib in SIZES[-sizes:]])]


def fill(programs: Programs, kib: int, reference: Path) -> None:
    with mounted(programs.folder / "disk", kib) as path:
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
        grow(path, 20 * 1024)
        begun = (workdir / "config.json").exists() or kept
        programs.train(workdir, *(["--resume"] if begun else ["--overwrite", *FLAGS, *SHORT]))
        expect_same_end(workdir, reference)
