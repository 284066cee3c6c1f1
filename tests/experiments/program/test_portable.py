"""The main job where an operating system has nothing that only POSIX has: Windows, in part macOS."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# What packages import first keeps working for them; what this project imports finds it gone.
WITHOUT_POSIX = """
import os, signal, subprocess, sys, time
import jax, flax, matplotlib.pyplot, optax, orbax.checkpoint, tensorboardX
subprocess.Popen.kill = lambda process: process.send_signal(9)  # POSIX's own kill needs SIGKILL
names = "sched_getaffinity sched_setaffinity fork killpg setsid getuid geteuid mkfifo register_at_fork"
for name in names.split():
    if hasattr(os, name):
        delattr(os, name)
if hasattr(os, "process_cpu_count"):  # Python 3.13's own, elsewhere, asks for no affinity
    os.process_cpu_count = os.cpu_count
for name in ("pthread_sigmask", "SIGKILL", "SIGHUP", "SIGALRM", "SIGQUIT", "SIGUSR1", "SIGUSR2"):
    if hasattr(signal, name):
        delattr(signal, name)
if hasattr(time, "tzset"):
    del time.tzset
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
opened = open
def without_proc(file, *args, **kwargs):
    if isinstance(file, (str, os.PathLike)) and str(file).startswith("/proc/"):
        raise FileNotFoundError(2, "No such file or directory", str(file))
    return opened(file, *args, **kwargs)
import builtins, io
builtins.open = io.open = without_proc
"""


def run(code: str, *args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX + code, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )


@pytest.mark.slow
def test_training_evaluation_report_and_doctor_need_nothing_that_only_posix_has(
    small: list[str], tmp_path: Path
) -> None:
    folder, data_dir = tmp_path / "run", small[-1]
    done = run("from experiments.cifar10 import main\nmain(sys.argv[1:])", *small, "--workdir", folder)
    assert done.returncode == 0, done.stderr
    assert 0 < json.loads((folder / "summary.json").read_text())["test_accuracy"] <= 1
    evaluated = run(
        "from experiments.evaluate import main\nmain(sys.argv[1:])",
        *(
            "--weights",
            folder,
            "--dataset",
            "digits",
            "--data-dir",
            data_dir,
            "--out",
            tmp_path / "evaluation",
        ),
    )
    assert evaluated.returncode == 0, evaluated.stderr
    reported = run(
        "import runpy\nrunpy.run_module('experiments.report', run_name='__main__')",
        *(folder, "--out", tmp_path / "report"),
    )
    assert reported.returncode == 0, reported.stderr
    assert (tmp_path / "report" / "report.html").is_file()
    looked = run("import runpy\nrunpy.run_module('experiments.doctor', run_name='__main__')", folder)
    assert looked.returncode == 0, looked.stdout + looked.stderr
    for one in (done, evaluated, reported, looked):
        assert "Traceback" not in one.stderr
