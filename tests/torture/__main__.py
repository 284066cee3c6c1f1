"""Runs the fault families and prints one table: python -m tests.torture [--short] [--only NAME ...]."""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.torture.common import LostError, Programs, Row
from tests.torture.damage import damages
from tests.torture.devices import devices
from tests.torture.disks import disks
from tests.torture.kills import kills
from tests.torture.together import together

Family = Callable[[Programs, argparse.Namespace], list[Row]]
# Of each family the whole and the short version.
FAMILIES: dict[str, tuple[Family, Family]] = {
    "damage": (lambda p, args: damages(p, 1), lambda p, args: damages(p, 7)),
    "disks": (lambda p, args: disks(p, 8), lambda p, args: disks(p, 1)),
    "together": (lambda p, args: together(p, 2), lambda p, args: together(p, 1)),
    "devices": (lambda p, args: devices(p, 4), lambda p, args: devices(p, 1)),
    "kills": (lambda p, args: kills(p, args.kills, args.seed), lambda p, args: kills(p, 6, args.seed)),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few tries of each family, for CI")
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=list(FAMILIES), metavar="FAMILY")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the random moments")
    parser.add_argument("--kills", type=int, default=100, help="number of kill -9 (default: 100)")
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    rows: list[Row] = []
    started = time.monotonic()
    for name in args.only:
        with tempfile.TemporaryDirectory(prefix="torture-", ignore_cleanup_errors=True) as folder:
            programs = Programs(Path(folder))
            begun = time.monotonic()
            try:
                rows += FAMILIES[name][args.short](programs, args)
            except LostError as error:  # before the first try: the run to compare with
                rows.append(Row(name, 1, 1, str(error)))
            finally:
                programs.close()
            print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)
    print(table(rows))
    print(f"{time.monotonic() - started:.0f} s, seed {args.seed}")
    return int(any(row.lost for row in rows))


def table(rows: list[Row]) -> str:
    lines = ["| fault | tries | survived | lost | |", "|---|---:|---:|---:|---|"]
    lines += [f"| {r.fault} | {r.tries} | {r.tries - r.lost} | {r.lost} | {r.note} |" for r in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
