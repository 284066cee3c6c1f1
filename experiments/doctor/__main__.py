"""Says what works here and what does not: python -m experiments.doctor."""

import sys
import time
from collections.abc import Sequence

from experiments.doctor.checks import checks_for
from experiments.doctor.config import DoctorConfig
from experiments.doctor.finding import Finding
from experiments.doctor.process import Ended, run_checks
from experiments.doctor.text import as_json, finding_lines, verdict
from experiments.program.start import start
from experiments.settings.parser import About, parse_flags

ABOUT = About(
    "Says what works on this machine and what does not, with a self-test of ten seconds; paste its output "
    "into a bug report. Exits with 1 if there is a problem.",
    examples=(
        "python -m experiments.doctor                  # this machine",
        "python -m experiments.doctor runs/mine        # a run: its checkpoints, what --resume would do",
        "python -m experiments.doctor --accelerator    # on a GPU or TPU: correctness and speed, minutes",
    ),
)


def main(args: Sequence[str] | None = None) -> None:
    """Parses the flags, looks, prints, and exits with 1 if there is a problem."""
    args = sys.argv[1:] if args is None else args
    config = parse_flags(DoctorConfig, "python -m experiments.doctor", ABOUT, args, DoctorConfig())
    config.check()
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # names may hold what the terminal cannot show
    started = time.perf_counter()
    if not config.json:
        what = config.run or ("accelerator" if config.accelerator else "this machine")
        now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        print(f"python -m experiments.doctor, {what}, {now}", flush=True)
    findings: list[Finding] = []
    seconds: dict[str, float] = {}
    for event in run_checks(checks_for(config), config):
        if isinstance(event, Ended):
            seconds[event.name] = event.seconds
            continue
        findings.append(event)
        if not config.json:
            print("\n".join(finding_lines(event)), flush=True)
    if config.json:
        print(as_json(findings, seconds))
    else:
        print(verdict(findings, time.perf_counter() - started))
    if any(finding.status == "problem" for finding in findings):
        sys.exit(1)


if __name__ == "__main__":
    start(main)
