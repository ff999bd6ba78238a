"""How well scores rank faulty above good: ROC, per-region overlap and precision-recall curves."""

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
POINTS = 1000  # of good and of faulty scores each that a curve is drawn through
_CHANCE = {"color": FAINT, "linestyle": ":", "linewidth": 1.3, "zorder": 1}


@dataclass(frozen=True)
class _Panel:
    """One kind of curve, and the area that sums it up."""

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
# The average precision is the area under a staircase, which rises and falls where recall is gained.
_PRECISION = _Panel(
    "Precision-recall",
    "recall",
    "precision",
    "average precision",
    curves.precision_recall_curve,
    curves.average_precision,
    steps="steps-pre",
)


def ranking_curves(tables: Mapping[str, ThresholdCounts], title: str = "") -> Figure:
    """ROC, per-region overlap up to 0.3 false positive rate, and precision-recall, with the areas beneath.

    The areas are those of the tables as given, AUPRO divided by 0.3, as fractions. Chance is dotted; its precision is
    the part of all scores that are faulty, drawn for "all".

    Args:
        tables: by defect, and "all" for all of them together, which is drawn black; see `curves.reached`. Where no
            table holds regions (single images), the overlap is left out. A table without good or without faulty
            scores has no curve, and a dash for its area.

    Raises:
        UserError: there is no table.
    """
    if not tables:
        raise UserError("ranking curves: there is no table to draw")
    regions = any(table.regions is not None for table in tables.values())
    panels = [_ROC, _OVERLAP, _PRECISION] if regions else [_ROC, _PRECISION]
    side, legend = 0.9 * WIDTH / len(panels), 0.3 + 0.17 * (len(tables) + 1)  # inches
    size = (WIDTH, side + legend + (0.3 if title else 0))
    figure = Figure(figsize=size, layout="constrained")
    if title:
        figure.suptitle(title, fontsize=11, color=INK, x=0.012, ha="left")
    grid = figure.subplots(2, len(panels), squeeze=False, height_ratios=(side, legend))
    for ax, below, panel in zip(*grid, panels, strict=True):
        style_axes(ax, panel.title, panel.xlabel, panel.ylabel)
        ax.set(xlim=(-0.01 * panel.right, 1.01 * panel.right), ylim=(-0.01, 1.02))
        handles, labels = _draw_curves(ax, tables, panel)
        below.axis("off")
        head = {"title": panel.area_name, "title_fontsize": 8, "alignment": "left"}
        look = {"fontsize": 8, "frameon": False, "handlelength": 1.8, "borderaxespad": 0}
        below.legend(handles, labels, loc="upper left", **head, **look)
    return figure


def _draw_curves(
    ax: Axes, tables: Mapping[str, ThresholdCounts], panel: _Panel
) -> tuple[list[Line2D], list[str]]:
    """Draws a panel and returns the legend's entries: an area and a name each."""
    handles, labels = [], []

    def add(name: str, look: dict[str, Any], area: float) -> None:
        handles.append(Line2D([], [], **look))
        labels.append(
            f"{'     -   ' if math.isnan(area) else f'{area:.3f}'}  {display_name(name, 22)}"
        )

    for name, look in _looks(tables).items():
        area = _area(panel, tables[name])
        add(name, look, area)
        if not math.isnan(area):
            x, y = panel.curve(curves.thinned(tables[name], POINTS))
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
    elif ALL in tables and not math.isnan(_area(panel, tables[ALL])):
        good, faulty = tables[ALL].good[-1], tables[ALL].faulty[-1]
        part = float(faulty / (good + faulty))
        ax.plot([0, 1], [part, part], label="chance", **_CHANCE)
        add("chance, all", _CHANCE, part)
    return handles, labels


def _area(panel: _Panel, table: ThresholdCounts) -> float:
    if panel is _OVERLAP and table.regions is None:
        return math.nan
    return float(panel.area(table))


def _looks(tables: Mapping[str, ThresholdCounts]) -> dict[str, dict[str, Any]]:
    """By name; all together first, thick and black beneath the others."""
    looks: dict[str, dict[str, Any]] = {}
    if ALL in tables:
        looks[ALL] = {"color": INK, "linestyle": "-", "linewidth": 2.4, "zorder": 1.9}
    for i, name in enumerate(name for name in tables if name != ALL):
        turn, place = divmod(i, len(SERIES))
        style = STYLES[turn % len(STYLES)]
        looks[name] = {"color": SERIES[place], "linestyle": style, "linewidth": 1.4}
    return looks
