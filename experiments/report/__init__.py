"""Reports that compare runs: python -m experiments.report RUN [RUN ...] --out report."""

from collections.abc import Sequence
from pathlib import Path


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
        out: The folder to write. Nothing but a report's own files is ever replaced in it.
        title: The heading; what was compared on what, by default.
        data_dir: Where the data sets are kept whose test images are shown; as the runs had it, by default.
        overwrite: Replace a report in that folder.

    Returns:
        The lines of what is missing or odd in the runs, as the report has them.

    Raises:
        ConfigError: A folder holds no run, or ``out`` holds something else than a report, or one that was
            not to be overwritten.
    """
    from experiments.report.write import write  # with jax and matplotlib, which programs import late

    return write(
        [Path(folder) for folder in run_folders], Path(out), title, data_dir=data_dir, overwrite=overwrite
    )
