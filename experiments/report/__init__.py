"""Reports that compare runs: ``python -m experiments.report RUN [RUN ...] --out report``.

Reads the files that runs leave behind, without JAX; whatever is in them, what can be read is shown.
"""

from collections.abc import Sequence
from pathlib import Path

__all__ = ["write_report"]


def write_report(
    run_folders: Sequence[Path | str],
    out: Path | str,
    *,
    title: str | None = None,
    data_dir: str | None = None,
    overwrite: bool = False,
) -> list[str]:
    """Writes ``report.html``, ``report.md``, ``report.json`` and the curves as PNG and SVG.

    Args:
        run_folders: Folders of runs, finished or not, or folders that hold such folders at any depth. They
            are shown in this order.
        out: The folder to write. Only a report's own files are ever replaced in it.
        title: The heading; by default the networks and data sets.
        data_dir: Folder of the data sets whose test images are shown; by default where the runs had it.
        overwrite: Replace a report in that folder.

    Returns:
        Notes on what is missing, left out or unusual in the runs; the report shows them too.

    Raises:
        ConfigError: A folder holds no run, or ``out`` holds something else than a report, or a report and
            ``overwrite`` is False.
        OSError: The report cannot be written.
    """
    from experiments.report.output import write_report_files  # with Matplotlib, which takes a second

    return write_report_files(
        [Path(folder) for folder in run_folders], Path(out), title, data_dir=data_dir, overwrite=overwrite
    )
