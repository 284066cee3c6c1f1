"""Curves of networks over one another: loss and error against epochs.

As in figure 6 of He et al. 2015, training is thin and dashed, held-out images are bold.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from experiments.runs.figure_style import INK, drawable_labels, drawable_title, figure_style, save_figure
from experiments.runs.series import (
    Quantity,
    Records,
    Series,
    final_test,
    held_out_kind,
    held_out_series,
    training_series,
    watched_test_series,
)

__all__ = [
    "COLORS",
    "QUANTITIES",
    "NetworkCurves",
    "color_and_marker",
    "draw_curves",
    "has_watched_test",
    "held_out_name",
    "save_curves",
]

# Okabe and Ito's colors, which people tell apart whatever their color vision; their yellow is lost on white,
# so brown and gray instead, which the markers tell apart as well.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c5a2b", "#777777")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
BOLD, MEDIUM, THIN = 2.4, 1.5, 1.1
DASHES = (0, (3, 1.5))
QUANTITIES: tuple[Quantity, Quantity] = ("error", "loss")
AXIS_LABELS = {"loss": "cross-entropy (nats)", "error": "error (%)"}
# Losses smaller than this are no reason for a logarithmic scale.
SMALLEST = 1e-12


class NetworkCurves(NamedTuple):
    """One network's runs.

    Attributes:
        label: Its name in the legend.
        seeds: The records of the run of each seed.
    """

    label: str
    seeds: Sequence[Records]


def save_curves(networks: Sequence[NetworkCurves], title: str, paths: Sequence[Path]) -> list[str]:
    """Draws error and loss side by side into files, whose suffixes name the formats.

    Returns:
        Notes for people on what could not be drawn.
    """
    labels = drawable_labels([network.label for network in networks], limit=80)
    heading, heading_fonts = drawable_title(title)
    fonts = list(dict.fromkeys([*labels.fonts, *heading_fonts]))
    legend_rows = 1 + -(-len(networks) // 4)
    with figure_style(fonts, {"svg.hashsalt": paths[0].stem}):
        figure, axes = plt.subplots(1, 2, figsize=(10, 4.2 + 0.22 * legend_rows), layout="constrained")
        figure.set_layout_engine("constrained", wspace=0.04)
        for axis, quantity in zip(axes, QUANTITIES, strict=True):
            draw_curves(axis, networks, quantity)
        axes[0].set_title(heading, loc="left")
        _add_legends(figure, networks, labels.texts)
        save_figure(figure, paths)
    return labels.notes


def draw_curves(axis: Axes, networks: Sequence[NetworkCurves], quantity: Quantity) -> None:
    """Draws all networks into one pair of axes."""
    values: list[np.ndarray] = []
    ends: list[float] = []
    for place, network in enumerate(networks):
        for curve in _draw_network(axis, network, quantity, place, len(networks)):
            # A curve's first tenth falls from chance level and would dwarf the rest.
            values.append(curve.mean[curve.epochs >= 0.1 * curve.epochs[-1]])
            ends.append(float(curve.epochs[-1]))
    axis.set_xlabel("epoch")
    axis.set_ylabel(AXIS_LABELS[quantity])
    axis.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10]))
    axis.grid(True)
    axis.set_axisbelow(True)
    if values:
        axis.set_xlim(0, 1.02 * max(ends) or 1)
        _set_scale(axis, np.concatenate(values), quantity)


def color_and_marker(place: int) -> tuple[str, str]:
    """Color and marker of the network at a place; after the eighth, colors repeat with other markers."""
    rounds, color = divmod(place, len(COLORS))
    return COLORS[color], MARKERS[(color + 3 * rounds) % len(MARKERS)]


def held_out_name(networks: Sequence[NetworkCurves]) -> str:
    """What the bold lines show: "validation", "test", or both."""
    names = {"val": "validation", "test": "test"}
    return " or ".join(dict.fromkeys(names[held_out_kind(network.seeds)] for network in networks))


def has_watched_test(networks: Sequence[NetworkCurves]) -> bool:
    """Whether a dotted line shows the test set while training: for a single network, to keep curves few."""
    return len(networks) == 1 and watched_test_series(networks[0].seeds, "loss") is not None


def _draw_network(
    axis: Axes, network: NetworkCurves, quantity: Quantity, place: int, count: int
) -> list[Series]:
    """Draws one network's curves, and returns them."""
    color, marker = color_and_marker(place)
    drawn = []
    if (training := training_series(network.seeds, quantity)) is not None:
        axis.plot(training.epochs, training.mean, color=color, linewidth=THIN, linestyle=DASHES)
        _draw_band(axis, training, color, alpha=0.1)
        drawn.append(training)
    if (held_out := held_out_series(network.seeds, quantity)) is not None:
        axis.plot(
            held_out.epochs, held_out.mean, color=color, linewidth=BOLD if count <= 4 else 0.75 * BOLD,
            marker=marker, markersize=5, markevery=max(1, len(held_out.epochs) // 10), zorder=3,
        )  # fmt: skip
        _draw_band(axis, held_out, color, alpha=0.22)
        drawn.append(held_out)
    if count == 1 and (watched := watched_test_series(network.seeds, quantity)) is not None:
        axis.plot(watched.epochs, watched.mean, color=INK, linewidth=MEDIUM, linestyle=":", zorder=2)
        drawn.append(watched)
    if test := final_test(network.seeds, quantity):
        epoch, mean, std = test
        axis.errorbar(
            epoch, mean, yerr=std or None, color=color, marker="*", markersize=10, capsize=3,
            markeredgecolor=INK, markeredgewidth=0.6, zorder=4, clip_on=False,
        )  # fmt: skip
        drawn.append(Series(np.array([epoch]), np.array([mean]), np.array([std])))
    return drawn


def _add_legends(figure: Figure, networks: Sequence[NetworkCurves], labels: Sequence[str]) -> None:
    """The networks above, the kinds of lines below."""
    lines = []
    for place in range(len(networks)):
        color, marker = color_and_marker(place)
        lines.append(Line2D([], [], color=color, marker=marker, markersize=5, linewidth=BOLD))
    columns = 4 if max(map(len, labels), default=0) <= 30 else 2
    legend = figure.legend(
        lines, ["-"] * len(lines), loc="outside upper center", ncols=columns, frameon=False
    )
    # Matplotlib leaves labels out that begin with an underscore, unless they are set afterwards.
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)
    figure.legend(handles=_kinds_of_lines(networks), loc="outside lower center", ncols=5, frameon=False)


def _kinds_of_lines(networks: Sequence[NetworkCurves]) -> list[Line2D]:
    lines = [
        Line2D([], [], color=INK, linewidth=BOLD, label=held_out_name(networks)),
        Line2D([], [], color=INK, linewidth=THIN, linestyle=DASHES, label="training batches"),
        Line2D(
            [], [], color="white", marker="*", markersize=10, markeredgecolor=INK, linestyle="none",
            label="test, last checkpoint",
        ),
    ]  # fmt: skip
    if has_watched_test(networks):
        lines.append(Line2D([], [], color=INK, linewidth=MEDIUM, linestyle=":", label="test while training"))
    if any(len(network.seeds) > 1 for network in networks):
        lines.append(Line2D([], [], color=INK, alpha=0.22, linewidth=9, label="± std over seeds"))
    return lines


def _draw_band(axis: Axes, curve: Series, color: str, *, alpha: float) -> None:
    if curve.std.any():
        low, high = curve.mean - curve.std, curve.mean + curve.std
        axis.fill_between(curve.epochs, low, high, color=color, alpha=alpha, linewidth=0)


def _set_scale(axis: Axes, values: np.ndarray, quantity: Quantity) -> None:
    low, high = float(values.min()), float(values.max())
    floor = 0.0 if 0 <= low < 0.5 * high else low - 0.1 * abs(low)
    if quantity == "error":
        axis.set_ylim(floor, min(100.0, 1.08 * high) or 1.0)
    elif low >= SMALLEST and high > 10 * low:
        axis.set_yscale("log")
        axis.set_ylim(0.8 * low, max(1.25 * high, 10 * low))
        few_decades = high < 1e4 * low
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few_decades else (1.0,)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set_ylabel(f"{AXIS_LABELS[quantity]}, log scale")
    else:
        axis.set_ylim(floor, max(1.08 * high, floor + SMALLEST))
