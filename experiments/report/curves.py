"""The curves of a report: what each network lost and missed, epoch by epoch, drawn over one another.

As in figure 6 of He et al. 2015, training is thin and dashed, what the network did not see is bold.
"""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from experiments.report.groups import Group
from experiments.report.series import Quantity, Series, final_test, held_out, training

# Okabe and Ito's colors, which people tell apart whatever their eyes; their yellow is lost on white, so
# brown and gray instead, which the marks tell apart as well.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c5a2b", "#777777")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "<")
BOLD, THIN = 2.4, 1.1
DASHES = (0, (3, 1.5))
INK, GRID = "#222222", "#dddddd"
QUANTITIES: tuple[Quantity, Quantity] = ("error", "loss")
LABELS = {"loss": "cross-entropy (nats)", "error": "error (%)"}
STYLE: Any = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "grid.color": GRID,
    "svg.fonttype": "none",  # text stays text
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def write_curves(groups: Sequence[Group], title: str, stem: Path) -> list[Path]:
    """Draws loss and error side by side into ``stem.png`` and ``stem.svg``; nothing without records."""
    if not any(run.records for group in groups for run in group.runs):
        return []
    rows = 1 + -(-len(groups) // 4)
    with plt.rc_context({**STYLE, "svg.hashsalt": stem.name}):
        figure, axes = plt.subplots(1, 2, figsize=(10, 4.2 + 0.22 * rows), layout="constrained")
        figure.set_layout_engine("constrained", wspace=0.04)
        for axis, quantity in zip(axes, QUANTITIES, strict=True):
            draw(axis, groups, quantity)
        axes[0].set_title(title, loc="left")
        figure.legend(handles=networks(groups), loc="outside upper center", ncols=4, frameon=False)
        figure.legend(handles=kinds(groups), loc="outside lower center", ncols=4, frameon=False)
        paths = [stem.with_suffix(".png"), stem.with_suffix(".svg")]
        for path in paths:
            path.write_bytes(_saved(figure, path.suffix[1:]))
        plt.close(figure)
    return paths


def panel(groups: Sequence[Group], quantity: Quantity, salt: str) -> str:
    """One of the two as an SVG element to stand in a page, in colors that the page's style names.

    Args:
        groups: What to draw.
        quantity: Which.
        salt: Other for every panel of a page, so that no two have the same ids.
    """
    with plt.rc_context({**STYLE, "svg.hashsalt": salt, "savefig.transparent": True}):
        figure, axis = plt.subplots(figsize=(4.5, 3.5), layout="constrained")
        draw(axis, groups, quantity)
        svg = _saved(figure, "svg").decode()
        plt.close(figure)
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', svg, count=1)
    svg = svg.replace(INK, "var(--ink)").replace(GRID, "var(--grid)")
    for place, color in enumerate(COLORS):
        svg = svg.replace(color, f"var(--curve{place})")
    return svg


def draw(axis: Axes, groups: Sequence[Group], quantity: Quantity) -> None:
    """Draws all groups into one pair of axes."""
    seen: list[np.ndarray] = []
    ends = []
    width = BOLD if len(groups) <= 4 else 0.75 * BOLD
    for place, group in enumerate(groups):
        color, mark = look(place)
        thin, bold = training(group, quantity), held_out(group, quantity)[0]
        if thin is not None:
            axis.plot(thin.epochs, thin.mean, color=color, linewidth=THIN, linestyle=DASHES)
            _band(axis, thin, color, alpha=0.1)
        if bold is not None:
            every = max(1, len(bold.epochs) // 10)
            axis.plot(
                bold.epochs, bold.mean, color=color, linewidth=width, marker=mark, markersize=5,
                markevery=every, zorder=3,
            )  # fmt: skip
            _band(axis, bold, color, alpha=0.22)
        for curve in (thin, bold):
            if curve is not None:
                seen.append(_settled(curve))
                ends.append(curve.epochs[-1])
        if test := final_test(group, quantity):
            epoch, mean, std = test
            axis.errorbar(
                epoch, mean, yerr=std or None, color=color, marker="*", markersize=10, capsize=3,
                markeredgecolor=INK, markeredgewidth=0.6, zorder=4, clip_on=False,
            )  # fmt: skip
            seen.append(np.array([mean]))
            ends.append(epoch)
    axis.set_xlabel("epoch")
    axis.set_ylabel(LABELS[quantity])
    axis.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10]))
    axis.grid(True)
    axis.set_axisbelow(True)
    if seen:
        axis.set_xlim(0, 1.02 * max(ends))
        _scale(axis, np.concatenate(seen), quantity)


def look(place: int) -> tuple[str, str]:
    """Color and mark of the group at a place; after the eighth, colors come again with other marks."""
    rounds, color = divmod(place, len(COLORS))
    return COLORS[color], MARKS[(color + 3 * rounds) % len(MARKS)]


def networks(groups: Sequence[Group]) -> list[Line2D]:
    """For a legend: a line for each group in its color."""
    lines = []
    for place, group in enumerate(groups):
        color, mark = look(place)
        line = Line2D([], [], color=color, marker=mark, markersize=5, linewidth=BOLD)
        line.set_label(group.label)
        lines.append(line)
    return lines


def kinds(groups: Sequence[Group]) -> list[Line2D]:
    """For a legend: what bold, thin and star mean."""
    star = Line2D([], [], color="white", marker="*", markersize=10, markeredgecolor=INK, linestyle="none")
    star.set_label("test, last checkpoint")
    lines = [
        Line2D([], [], color=INK, linewidth=BOLD, label=held_out_name(groups)),
        Line2D([], [], color=INK, linewidth=THIN, linestyle=DASHES, label="training batches"),
        star,
    ]
    if any(len(group.counted) > 1 for group in groups):
        lines.append(Line2D([], [], color=INK, alpha=0.22, linewidth=9, label="± std over seeds"))
    return lines


def held_out_name(groups: Sequence[Group]) -> str:
    """What the bold lines are over."""
    names = {"val": "validation", "test": "test"}
    return " or ".join(dict.fromkeys(names[held_out(group, "error")[1]] for group in groups))


def _band(axis: Axes, curve: Series, color: str, *, alpha: float) -> None:
    if curve.std.any():
        low, high = curve.mean - curve.std, curve.mean + curve.std
        axis.fill_between(curve.epochs, low, high, color=color, alpha=alpha, linewidth=0)


def _settled(curve: Series) -> np.ndarray:
    """The curve after its first tenth, in which it falls from chance and would dwarf the rest."""
    return curve.mean[curve.epochs >= 0.1 * curve.epochs[-1]]


def _scale(axis: Axes, seen: np.ndarray, quantity: Quantity) -> None:
    low, high = float(seen.min()), float(seen.max())
    floor = 0.0 if low < 0.5 * high else 0.9 * low
    if quantity == "error":
        axis.set_ylim(floor, min(100.0, 1.08 * high) or 1.0)
    elif low > 0 and high / low > 10:
        axis.set_yscale("log")
        axis.set_ylim(0.8 * low, 1.25 * high)
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set_ylabel(f"{LABELS[quantity]}, log scale")
    else:
        axis.set_ylim(floor, 1.08 * high)


def _saved(figure: Figure, form: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, dpi=140, metadata={"Date": None} if form == "svg" else None)
    return buffer.getvalue()
