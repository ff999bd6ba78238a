"""Recall, precision and accuracy of the test images by epoch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anomaly_jax.plots.names import display_name, line_styles
from engine_jax.errors import UserError
from engine_jax.plots import FAINT, INK, WIDTH, mark_epoch, style_axes

Row = Mapping[str, float | None]

RATES = ("recall", "precision", "accuracy")
ROW = 1.5  # inches of a defect's axes


def accuracies_by_epoch(
    history: Sequence[Row],
    defects: Sequence[str],
    thresholds: Sequence[str],
    best_epoch: float | None = None,
) -> Figure:
    """Recall, precision and accuracy of each defect's pixels by epoch, a line for each threshold, in percent.

    A line has a gap where its rate is undefined, such as precision without predicted pixels.

    Args:
        history: rows of metrics.jsonl, each with "epoch" and some of "test/<defect>/<threshold>/<rate>": fractions in
            [0, 1], None or missing where they are undefined. Of two rows for an epoch the later one is used.
        defects: a row of axes for each.
        thresholds: names of thresholds, a line for each.
        best_epoch: the epoch whose parameters were chosen, marked.

    Raises:
        UserError: the history holds none of these rates, or there is no defect or no threshold.
    """
    keys = {f"test/{d}/{t}/{rate}" for d in defects for t in thresholds for rate in RATES}
    rows: dict[float, Row] = {}
    for row in history:
        if (epoch := row.get("epoch")) is not None and not keys.isdisjoint(row):
            rows[epoch] = row
    if not rows:
        example = min(keys, default="test/<defect>/<threshold>/<rate>")
        raise UserError(f"history: no row holds accuracies by epoch, such as {example}")
    epochs = np.array(sorted(rows), float)
    percent = _percent([rows[epoch] for epoch in sorted(rows)], defects, thresholds)

    figure = Figure(figsize=(WIDTH, 0.8 + ROW * len(defects)), layout="constrained")
    grid = figure.subplots(len(defects), len(RATES), sharex=True, sharey="col", squeeze=False)
    for ax, lines in zip(grid.flat, percent.reshape(grid.size, len(thresholds), -1), strict=True):
        style_axes(ax, "", "epoch" if ax in grid[-1] else "")
        for (name, look), line in zip(line_styles(thresholds).items(), lines, strict=True):
            ax.plot(epochs, line, label=display_name(name), linewidth=1.5, **_dots(line), **look)
        if best_epoch is not None:
            mark_epoch(ax, best_epoch, "chosen", FAINT)
        if not np.isfinite(lines).any():
            look = {"color": FAINT, "fontsize": 8.5, "ha": "center", "va": "center"}
            ax.text(0.5, 0.5, "undefined", transform=ax.transAxes, **look)
    for ax, defect in zip(grid[:, 0], defects, strict=True):
        ax.set_ylabel(display_name(defect, 17), fontsize=9, color=INK)
    for ax, rate, low in zip(grid[0], RATES, (0, 0, _tens_below(percent[:, -1])), strict=True):
        ax.set_title(f"{rate}, %", fontsize=10, color=INK, loc="left")
        margin = 0.03 * (100 - low)
        ax.set_ylim(low - margin, 100 + margin)
    grid[0, 0].set_xlim(0, 1.03 * max(epochs[-1], 1))
    _draw_legend(figure, grid[0, 0])
    return figure


def _percent(
    rows: Sequence[Row], defects: Sequence[str], thresholds: Sequence[str]
) -> Float[np.ndarray, "d r t e"]:
    """The rates of each defect and threshold by epoch in percent, NaN where they are undefined."""
    keys = [f"test/{d}/{t}/{rate}" for d in defects for rate in RATES for t in thresholds]
    values = np.array([[row.get(key) for row in rows] for key in keys], float)  # None becomes NaN.
    return 100 * values.reshape(len(defects), len(RATES), len(thresholds), len(rows))


def _dots(line: Float[np.ndarray, " e"]) -> dict[str, Any]:
    """Markers at isolated epochs, which no line connects because their neighbours are undefined."""
    known = np.isfinite(line)
    padded = np.concatenate([[False], known, [False]])
    alone = np.flatnonzero(known & ~padded[:-2] & ~padded[2:])
    return {"marker": "o", "markersize": 3, "markevery": alone.tolist()}


def _tens_below(percent: np.ndarray) -> float:
    """The lower end of the accuracy axis: lines near 100 % could not be told apart on an axis from 0."""
    known = percent[np.isfinite(percent)]
    return 10 * np.floor(np.min(known, initial=99) / 10)


def _draw_legend(figure: Figure, ax: Axes) -> None:
    handles, labels = ax.get_legend_handles_labels()
    length = sum(0.45 + 0.065 * len(label) for label in labels)  # inches, about
    columns = math.ceil(len(labels) / math.ceil(length / (WIDTH - 0.4)))
    look = {"fontsize": 8.5, "frameon": False, "columnspacing": 1.4, "handlelength": 1.8}
    place = {"loc": "outside upper left", "ncols": columns, "markerscale": 0}
    head = {"title": "threshold", "title_fontsize": 8.5, "alignment": "left"}
    figure.legend(handles, labels, **look, **place, **head)
