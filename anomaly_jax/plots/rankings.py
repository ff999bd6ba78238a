"""Curves of how scores rank faulty above good: ROC, per-region overlap and precision-recall."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from anomaly_jax import curves
from anomaly_jax.curves import FALSE_POSITIVE_LIMIT, ThresholdCounts
from anomaly_jax.plots.names import display_name
from engine_jax.errors import UserError
from engine_jax.plots import FAINT, INK, SERIES, WIDTH, style_axes

ALL = "all"
STYLES = ("-", (0, (5, 1.5)), (0, (1, 1)))  # for more defects than there are colours
POINTS = 1000  # of curves.thinned, for drawing
_CHANCE = {"color": FAINT, "linestyle": ":", "linewidth": 1.3, "zorder": 1}


@dataclass(frozen=True)
class _Panel:
    """A kind of curve, and the area under it."""

    title: str
    xlabel: str
    ylabel: str
    area_name: str
    curve: Callable[[ThresholdCounts], tuple[np.ndarray, np.ndarray]]
    area: Callable[[ThresholdCounts], Any]
    right: float = 1.0  # where the x axis ends
    steps: str = "default"


_ROC = _Panel(
    "ROC", "false positive rate", "true positive rate", "AUROC", curves.roc_curve, curves.auroc
)
_OVERLAP = _Panel(
    "Per-region overlap",
    "false positive rate",
    "overlap",
    "AUPRO",
    curves.pro_curve,
    curves.aupro,
    FALSE_POSITIVE_LIMIT,
)
# The average precision is the area under a step function with steps where the recall grows.
_PRECISION = _Panel(
    "Precision-recall",
    "recall",
    "precision",
    "average precision",
    curves.precision_recall_curve,
    curves.average_precision,
    steps="steps-pre",
)


def ranking_curves(counts: Mapping[str, ThresholdCounts]) -> Figure:
    """ROC, per-region overlap up to a false positive rate of 0.3, and precision-recall, with the areas under them.

    The areas are computed from the full counts, as fractions; AUPRO is divided by 0.3. Chance is dotted; its precision,
    the share of faulty scores, is drawn for "all".

    Args:
        counts: by defect, and "all" for all defects together, drawn black; see `curves.count_at_thresholds`. Without
            region weights in any of them (single images), the overlap is left out. Counts without good or without
            faulty scores have no curve, and a dash instead of an area.

    Raises:
        UserError: there are no counts.
    """
    if not counts:
        raise UserError("ranking curves: there are no counts to draw")
    regions = any(group.regions is not None for group in counts.values())
    panels = [_ROC, _OVERLAP, _PRECISION] if regions else [_ROC, _PRECISION]
    side, legend = 0.9 * WIDTH / len(panels), 0.3 + 0.17 * (len(counts) + 1)  # inches
    figure = Figure(figsize=(WIDTH, side + legend), layout="constrained")
    grid = figure.subplots(2, len(panels), squeeze=False, height_ratios=(side, legend))
    for ax, below, panel in zip(*grid, panels, strict=True):
        style_axes(ax, panel.title, panel.xlabel, panel.ylabel)
        ax.set(xlim=(-0.01 * panel.right, 1.01 * panel.right), ylim=(-0.01, 1.02))
        handles, labels = _draw_curves(ax, counts, panel)
        below.axis("off")
        head = {"title": panel.area_name, "title_fontsize": 8, "alignment": "left"}
        look = {"fontsize": 8, "frameon": False, "handlelength": 1.8, "borderaxespad": 0}
        below.legend(handles, labels, loc="upper left", **head, **look)
    return figure


def _draw_curves(
    ax: Axes, counts: Mapping[str, ThresholdCounts], panel: _Panel
) -> tuple[list[Line2D], list[str]]:
    """Draws a panel; returns the legend's handles and labels, each with an area and a name."""
    handles, labels = [], []

    def add(name: str, look: dict[str, Any], area: float) -> None:
        handles.append(Line2D([], [], **look))
        labels.append(
            f"{'     -   ' if math.isnan(area) else f'{area:.3f}'}  {display_name(name, 22)}"
        )

    for name, look in _looks(counts).items():
        area = _area(panel, counts[name])
        add(name, look, area)
        if not math.isnan(area):
            x, y = panel.curve(curves.thinned(counts[name], POINTS))
            if panel is _PRECISION:
                gains = np.diff(x, prepend=-1) > 0
                x, y = x[gains], y[gains]
            ax.plot(x, y, label=name, drawstyle=panel.steps, **look)
    if not ax.lines:
        look = {"color": FAINT, "fontsize": 9, "ha": "center", "va": "center"}
        ax.text(0.5, 0.5, "undefined", transform=ax.transAxes, **look)
    if panel is not _PRECISION:
        ax.plot([0, panel.right], [0, panel.right], label="chance", **_CHANCE)
        add("chance", _CHANCE, panel.right / 2)
    elif ALL in counts and not math.isnan(_area(panel, counts[ALL])):
        good, faulty = counts[ALL].good[-1], counts[ALL].faulty[-1]
        share = float(faulty / (good + faulty))
        ax.plot([0, 1], [share, share], label="chance", **_CHANCE)
        add("chance, all", _CHANCE, share)
    return handles, labels


def _area(panel: _Panel, counts: ThresholdCounts) -> float:
    if panel is _OVERLAP and counts.regions is None:
        return math.nan
    return float(panel.area(counts))


def _looks(counts: Mapping[str, ThresholdCounts]) -> dict[str, dict[str, Any]]:
    """Line styles by name; "all" comes first, thick and black under the others."""
    looks: dict[str, dict[str, Any]] = {}
    if ALL in counts:
        looks[ALL] = {"color": INK, "linestyle": "-", "linewidth": 2.4, "zorder": 1.9}
    for i, name in enumerate(name for name in counts if name != ALL):
        turn, place = divmod(i, len(SERIES))
        style = STYLES[turn % len(STYLES)]
        looks[name] = {"color": SERIES[place], "linestyle": style, "linewidth": 1.4}
    return looks
