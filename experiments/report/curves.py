"""The curves of a report's groups: as files, and as SVG inside the page."""

import re
from collections.abc import Sequence
from pathlib import Path

from matplotlib import pyplot as plt

from experiments.report.groups import Group
from experiments.runs.curves import COLORS, draw_curves, save_curves
from experiments.runs.figure_style import GRID, INK, figure_style, render_figure
from experiments.runs.series import Quantity

__all__ = ["curves_svg", "write_curves"]


def write_curves(groups: Sequence[Group], title: str, stem: Path) -> tuple[list[Path], list[str]]:
    """Draws error and loss side by side into ``stem.png`` and ``stem.svg``.

    Returns:
        The files, none where no run has records, and notes on what could not be drawn.
    """
    if not any(run.records for group in groups for run in group.runs):
        return [], []
    paths = [stem.with_name(f"{stem.name}.{form}") for form in ("png", "svg")]
    return paths, save_curves([group.curves for group in groups], title, paths)


def curves_svg(groups: Sequence[Group], quantity: Quantity, salt: str) -> str:
    """One quantity's curves as an SVG element, in colors that the page's style sheet defines.

    Args:
        groups: The groups to draw.
        quantity: What to draw.
        salt: Different for every element of a page, so that no two have the same ids.
    """
    with figure_style(changes={"svg.hashsalt": salt, "savefig.transparent": True}):
        figure, axis = plt.subplots(figsize=(4.5, 3.5), layout="constrained")
        draw_curves(axis, [group.curves for group in groups], quantity)
        svg = render_figure(figure, "svg").decode()
        plt.close(figure)
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', svg, count=1)
    svg = svg.replace(INK, "var(--ink)").replace(GRID, "var(--grid)")
    for place, color in enumerate(COLORS):
        svg = svg.replace(color, f"var(--curve{place})")
    return svg
