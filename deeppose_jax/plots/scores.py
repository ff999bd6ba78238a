"""Scores of a run by epoch and by stage, and PDJ over its threshold; what wasn't measured is left out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from deeppose_jax.metrics import look_up
from engine_jax import plots
from engine_jax.errors import UserError
from engine_jax.plots import FAINT, INK, SERIES, WIDTH, Row, style_axes

Curve = tuple[Sequence[float], Sequence[float]]

# The panels of metric_curves, row by row: metrics of metrics.jsonl and their titles.
METRICS = (
    {"pcp_strict": "PCP strict, limbs", "pcp_loose": "PCP loose, limbs"},
    {"pdj_0.1": "PDJ at 0.1", "pdj_0.2": "PDJ at 0.2", "pdj_0.5": "PDJ at 0.5"},
    {"pckh_0.1": "PCKh at 0.1", "pckh_0.5": "PCKh at 0.5", "oks_ap": "OKS AP"},
)
PARTS = ("head", "torso", "upper_arm", "lower_arm", "upper_leg", "lower_leg", "four_limbs")
OKS = {"ap": "AP", "ap50": "AP at .50", "ap75": "AP at .75", "ar": "AR"}
_UNITS = {"PCP": "% of sticks", "OKS": "%"}
# Lines from the end of a curve to the left edge of its label.
_LEADER = {"arrowstyle": "-", "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0, "relpos": (0, 0.5)}
_DOTTED = {"color": INK, "linestyle": ":", "linewidth": 1.5}


def metric_curves(
    history: Sequence[Row],
    floor: Mapping[str, float | None] | None = None,
    best_epoch: float | None = None,
) -> Figure:
    """PCP (strict, loose; mean of the limbs), PDJ, PCKh and OKS AP per epoch, in percent, as far as they were measured.

    Args:
        history: rows of metrics.jsonl, each with "epoch" and some of "<split>/<metric>", for the
            splits train, validation, test and the metrics of METRICS.
        floor: what the mean training pose scores, by metric, drawn as a dotted line; None where it has no score.
        best_epoch: the epoch whose parameters were chosen, marked.

    Raises:
        UserError: the history is empty or holds none of these metrics.
    """
    return plots.metric_curves(
        history, measured(history) or METRICS, floor, "mean pose", best_epoch
    )


def measured(history: Sequence[Row]) -> tuple[dict[str, str], ...]:
    """The rows of METRICS of which the history has some."""
    names = {key.partition("/")[2] for row in history for key in row}
    rows = ({name: title for name, title in row.items() if name in names} for row in METRICS)
    return tuple(row for row in rows if row)


def pdj_over_thresholds(
    curves: Mapping[str, Curve],
    reference: Mapping[str, Curve] | None = None,
    floor: Curve | None = None,
) -> Figure:
    """PDJ over its threshold, a line for each method, with its name at the line's end.

    Args:
        curves: by name, thresholds in torso lengths and the percentage of joints within each; a curve that is NaN,
            where nothing was measured, isn't drawn.
        reference: the same for published methods, drawn in grey.
        floor: the same for the mean training pose, dotted.

    Raises:
        UserError: there is no curve to draw.
    """
    lines = [(name, curve, FAINT, "-", 1.2) for name, curve in (reference or {}).items()]
    if floor is not None:
        lines.append(("mean pose", floor, INK, ":", 1.6))
    for i, (name, curve) in enumerate(curves.items()):
        lines.append((name, curve, SERIES[i % len(SERIES)], "-", 2.4))
    lines = [line for line in lines if np.isfinite(line[1][1]).all()]
    if not lines:
        raise UserError("PDJ over thresholds: there is no curve to draw")

    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    ax = figure.add_subplot()
    style_axes(
        ax, "Joints found within a distance (PDJ)", "threshold, torso lengths", "% of joints"
    )
    right = max(max(thresholds) for _, (thresholds, _), *_ in lines)
    ax.set_xlim(0, right)
    ax.set_ylim(0, 100)
    for name, (thresholds, percent), colour, style, width in lines:
        ax.plot(thresholds, percent, color=colour, linestyle=style, linewidth=width, label=name)

    # A label of 9 points, with the air around it, is 4.6 % of the axes' height.
    heights = _spread([percent[-1] for _, (_, percent), *_ in lines], gap=4.6, top=100.0)
    for (name, (thresholds, percent), colour, _, width), height in zip(lines, heights, strict=True):
        ax.annotate(
            f"{name}  {percent[-1]:.0f}",
            xy=(thresholds[-1], percent[-1]),
            xytext=(1.04 * right, height),
            arrowprops=_LEADER | {"color": colour},
            annotation_clip=False,
            color="#666666" if colour == FAINT else colour,
            fontsize=9,
            fontweight="bold" if width > 2 else "normal",
            va="center",
        )
    return figure


def scores_by_stage(stages: Sequence[Mapping[str, Any]], floor: Mapping[str, Any]) -> Figure:
    """PCP of each part, strict and loose, and PDJ, PCKh and OKS of all joints, by stage, with 95 % intervals.

    Args:
        stages: scores of stages 1, 2, ... (see metrics.score). Values and intervals that are None
            or missing are not drawn.
        floor: the score of the mean training pose, dotted.

    Raises:
        UserError: there is no stage.
    """
    if not stages:
        raise UserError("scores by stage: no stages; results.json holds them under 'stages'")
    panels = _panels(stages)
    height = 0.12 + 0.16 * len(stages)  # inches of a group of bars
    ratios = [max(len(panel) for panel in row) for row in panels]
    figure = Figure(figsize=(WIDTH, 1.7 + sum(ratios) * height), layout="constrained")
    grid = figure.subplots(len(panels), 2, height_ratios=ratios, squeeze=False)
    for axes, row in zip(grid, panels, strict=True):
        for ax, panel in zip(axes, row, strict=True):
            if panel.title:
                _draw_panel(ax, panel, stages, floor)
            else:
                ax.axis("off")
    if panels[0][0].title == "PCP strict":
        grid[0, 1].set_yticklabels([])
    entries = [Rectangle((0, 0), 1, 1, color=_colour(i)) for i in range(len(stages))]
    labels = [f"stage {i}" for i in range(1, len(stages) + 1)]
    lines = [Line2D([], [], color=INK, linewidth=1), Line2D([], [], **_DOTTED)]
    labels += ["95 % interval", "mean pose"]
    grid[-1, 1].legend([*entries, *lines], labels, loc="center", frameon=False, fontsize=9)
    return figure


@dataclass(frozen=True)
class _Panel:
    """A panel of bars: its title, "" for an empty one, and where the scores hold each row."""

    title: str
    rows: Mapping[str, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.rows)


def _panels(stages: Sequence[Mapping[str, Any]]) -> list[tuple[_Panel, _Panel]]:
    """The panels that something was measured for, two a row; the last one is left for the legend."""
    found = []
    for name, title in (("pcp_strict", "PCP strict"), ("pcp_loose", "PCP loose")):
        known = {part for stage in stages for part in stage.get(name) or {}}
        rows = {part.replace("_", " "): (name, part) for part in (*PARTS, "limbs") if part in known}
        found.append(_Panel(title, rows))
    for name, title in (("pdj", "PDJ"), ("pckh", "PCKh")):
        thresholds = sorted({t for stage in stages for t in stage.get(name) or {}}, key=float)
        rows = {f"at {threshold}": (name, threshold, "total") for threshold in thresholds}
        found.append(_Panel(f"{title}, all joints", rows))
    known = {name for stage in stages for name in stage.get("oks") or {}}
    rows = {label: ("oks", name) for name, label in OKS.items() if name in known}
    found.append(_Panel("OKS", rows))
    found = [panel for panel in found if len(panel)]
    empty = _Panel("", {"": ()})
    found += [empty] * (1 + (len(found) + 1) % 2)
    return list(zip(found[::2], found[1::2], strict=True))


def _draw_panel(
    ax: Axes, panel: _Panel, stages: Sequence[Mapping[str, Any]], floor: Mapping[str, Any]
) -> None:
    style_axes(ax, panel.title, _UNITS.get(panel.title.split()[0], "% of joints"))
    _draw_bars(ax, list(panel.rows.values()), stages, floor)
    ax.set_yticks(range(len(panel)), list(panel.rows))
    ax.set_ylim(len(panel) - 0.45, -0.55)
    if list(panel.rows)[-1].endswith("limbs") and len(panel) > 1:
        ax.axhline(len(panel) - 1.5, color=FAINT, linewidth=0.8)  # Above the mean of the limbs.


def _spread(heights: Sequence[float], gap: float, top: float) -> np.ndarray:
    """Heights for labels in the same order, at least `gap` apart, within [0, top], with least squared movement.

    After subtracting gap * rank, the condition is that heights ascend. This is isotonic regression:
    neighbours in the wrong order are replaced by their mean.
    """
    order = np.argsort(heights, kind="stable")
    room = gap * np.arange(len(order))
    means: list[float] = []
    sizes: list[int] = []
    for height in np.asarray(heights, float)[order] - room:
        mean, size = float(height), 1
        while means and means[-1] > mean:
            mean = (mean * size + means.pop() * sizes[-1]) / (size + sizes[-1])
            size += sizes.pop()
        means.append(mean)
        sizes.append(size)
    placed = np.empty(len(order))
    placed[order] = np.clip(np.repeat(means, sizes), 0, top - room[-1]) + room
    return placed


def _draw_bars(
    ax: Axes,
    paths: Sequence[tuple[str, ...]],
    stages: Sequence[Mapping[str, Any]],
    floor: Mapping[str, Any],
) -> None:
    """A group of bars for each path into the scores, with a bar for each stage."""
    ax.grid(axis="y", visible=False)
    ax.set_xlim(0, 112)  # Room for a label beside a bar of 100.
    ax.set_xticks(range(0, 101, 20))
    thickness = 0.82 / len(stages)
    for i, stage in enumerate(stages):
        at = np.arange(len(paths)) + (i - (len(stages) - 1) / 2) * thickness
        values = np.array([look_up(stage, path) for path in paths], float)
        ends = [look_up(stage, ("intervals", *path)) for path in paths]
        low, high = np.array([(end or (math.nan,) * 2) for end in ends], float).reshape(-1, 2).T
        ax.barh(at, values, 0.86 * thickness, color=_colour(i), label=f"stage {i + 1}")
        ax.hlines(at, low, high, color=INK, linewidth=1.0)
        for y, value, right in zip(at, values, np.fmax(values, high), strict=True):
            if math.isfinite(value):
                behind = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}
                look = {"fontsize": 7.5, "color": INK, "va": "center", "bbox": behind}
                ax.text(right + 1.5, y, f"{value:.1f}", **look)
    for row, path in enumerate(paths):
        value = look_up(floor, path)
        if value is not None:
            ax.plot([value, value], [row - 0.46, row + 0.46], **_DOTTED)


def _colour(i: int) -> str:
    return SERIES[i % len(SERIES)]
