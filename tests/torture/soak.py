"""A long training with frequent checkpoints, and what grows: python -m tests.torture.soak --steps 20000."""

import argparse
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

FLAGS = [
    *("--dataset", "digits", "--arch", "resnet8", "--batch-size", "8", "--val-size", "100"),
    *("--log-every", "20", "--crop-padding", "1", "--eval-every", "2"),
]


def measure() -> dict[str, int]:
    """Resident KiB, threads, open files and temporary folders of this process, now."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "rss": int(status["VmRSS"].split()[0]),
        "threads": int(status["Threads"]),
        "files": len(os.listdir("/proc/self/fd")),
        "temporary": len(os.listdir(tempfile.gettempdir())),
    }


class Watch(threading.Thread):
    """Measures every second, with the step that metrics.jsonl is at."""

    def __init__(self, metrics: Path) -> None:
        super().__init__(daemon=True)
        self.samples: list[dict[str, int]] = []
        self._metrics, self.over = metrics, threading.Event()
        self.checkpoints: set[str] = set()

    def run(self) -> None:
        while not self.over.wait(1):
            if self._metrics.exists():
                self.samples.append({**measure(), "bytes": self._metrics.stat().st_size})
                folders = (self._metrics.parent / "checkpoints").glob("*")
                self.checkpoints.update(folder.name for folder in folders if folder.name.isdigit())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture.soak", description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--checkpoint-minutes", type=float, default=0.2)
    args = parser.parse_args()
    every = ("--checkpoint-minutes", str(args.checkpoint_minutes))

    from experiments.cifar10 import main as train

    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        workdir = Path(folder) / "run"
        watch = Watch(workdir / "metrics.jsonl")
        watch.start()
        started = time.monotonic()
        train([*FLAGS, *every, "--steps", str(args.steps), "--workdir", str(workdir)])
        watch.over.set()
        seconds = time.monotonic() - started
        left = [path.name for path in workdir.rglob("*") if "tmp" in path.name]
    samples = watch.samples
    # The first third warms up: compilation, buffers, the first checkpoints. The last seconds test and draw.
    steady = samples[len(samples) // 3 : -5]
    part = max(1, len(steady) // 5)
    failed = bool(left)
    print(
        f"{args.steps} steps in {seconds:.0f} s, {len(watch.checkpoints)} checkpoints seen, {len(samples)} "
        f"samples; left behind: {left or 'nothing'}"
    )
    for name in ("rss", "threads", "files", "temporary"):
        before, after = (np.median([s[name] for s in some]) for some in (steady[:part], steady[-part:]))
        growth = 100 * (after / before - 1)
        failed |= growth > 2 if name == "rss" else after > before
        print(f"{name}: {before:.0f} after the warm-up, {after:.0f} at the end ({growth:+.2f}%)")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
