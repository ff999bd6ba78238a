"""Histograms of the scores of good and faulty images or pixels, with the thresholds."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import blended_transform_factory, offset_copy

from anomaly_jax.plots.names import display_name, is_number, line_styles
from engine_jax.errors import UserError
from engine_jax.plots import FAINT, INK, WIDTH, style_axes

# Pale, so that the threshold lines stand out.
GOOD, FAULTY = "#C5CBD3", "#EBC363"
BINS = {"image": 36, "pixel": 100}
ROW, LEVEL, LEFT, RIGHT, TITLE, FOOT = 0.68, 0.15, 0.62, 1.55, 0.4, 0.72  # inches
LETTERS = 18  # of a name fit at the right
Scores = Mapping[str, Float[np.ndarray, " m"]]


def score_histograms(
    good: Scores,
    faulty: Scores,
    thresholds: Mapping[str, float],
    level: Literal["image", "pixel"],
) -> Figure:
    """A histogram for each group of scores on a common axis, in percent of the group, with the thresholds as lines.

    The last good group with scores is outlined in the histogram of each faulty group. An oracle's threshold is dashed.
    For pixels the percentages are on a logarithmic axis, since the few highest scores of very many matter.

    Args:
        good: scores by group, such as "held-out good" and "test good"; a group may be empty.
        faulty: scores of faulty images, or of faulty pixels, by defect; a sample is enough for very many pixels.
        thresholds: by name.
        level: whether the scores are of images or of pixels.

    Raises:
        UserError: there are no scores.
        ValueError: a score or threshold is not finite, or the level is neither of the two.
    """
    if level not in BINS:
        raise ValueError(f"level: {level!r}; accepted: {', '.join(BINS)}")
    groups = [(name, np.ravel(scores), GOOD) for name, scores in good.items()]
    groups += [(name, np.ravel(scores), FAULTY) for name, scores in faulty.items()]
    edges = _edges([scores for _, scores, _ in groups], thresholds, BINS[level])
    behind = [(name, scores) for name, scores, colour in groups if colour == GOOD and len(scores)]

    head = TITLE + LEVEL * len(thresholds)
    page = head + ROW * len(groups) + FOOT
    figure = Figure(figsize=(WIDTH, page))
    inside = {"left": LEFT / WIDTH, "right": 1 - RIGHT / WIDTH, "bottom": FOOT / page}
    figure.subplots_adjust(top=1 - head / page, hspace=0.22, **inside)
    rows = figure.subplots(len(groups), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (name, scores, colour) in zip(rows, groups, strict=True):
        style_axes(ax, "", "")
        ax.tick_params(labelbottom=ax is rows[-1])
        _draw_group(ax, scores, edges, colour)
        if colour == FAULTY and behind:
            parts = _parts(behind[-1][1], edges)
            ax.stairs(parts, edges, color=INK, linewidth=0.8, alpha=0.7, label=behind[-1][0])
        _write_name(ax, name, len(scores), level)
    for ax in rows:
        _style_parts(ax, level, [scores for _, scores, _ in groups])
    rows[-1].set_xlim(edges[0], edges[-1])
    rows[-1].set_xlabel(f"{level} score", fontsize=9, color=INK)
    _draw_thresholds(figure, rows, thresholds)
    middle = (FOOT + ROW * len(groups) / 2) / page
    look = {"fontsize": 9, "color": INK, "rotation": 90, "va": "center", "ha": "center"}
    figure.text(0.12 / WIDTH, middle, "% of the row", **look)
    _draw_legend(figure, bool(good), bool(faulty), behind[-1][0] if behind and faulty else None)
    return figure


def _edges(groups: list[np.ndarray], thresholds: Mapping[str, float], bins: int) -> np.ndarray:
    """Edges of equal bins over all scores and thresholds, with a margin at both ends."""
    scores = np.concatenate([np.zeros(0), *groups])
    if not len(scores):
        raise UserError("score histograms: there are no scores to draw")
    shown = np.append(scores, [*thresholds.values()])
    if not np.isfinite(shown).all():
        raise ValueError("score histograms: a score or threshold is not finite")
    low, high = float(shown.min()), float(shown.max())
    air = 0.02 * (high - low) or 0.5 * (abs(low) or 1)
    return np.linspace(low - air, high + air, bins + 1)


def _parts(scores: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Percent of the scores in each bin."""
    counts, _ = np.histogram(scores, edges)
    return 100 * counts / max(len(scores), 1)


def _draw_group(ax: Axes, scores: np.ndarray, edges: np.ndarray, colour: str) -> None:
    if len(scores):
        ax.stairs(_parts(scores, edges), edges, fill=True, color=colour, label="scores")
    else:
        look = {"color": FAINT, "fontsize": 8.5, "ha": "center", "va": "center"}
        ax.text(0.5, 0.5, "none", transform=ax.transAxes, **look)
        ax.tick_params(axis="y", left=False, labelleft=False)


def _write_name(ax: Axes, name: str, n: int, level: str) -> None:
    look: dict[str, Any] = {"textcoords": "offset points", "annotation_clip": False}
    look |= {"xycoords": "axes fraction", "color": INK, "ha": "left"}
    count = f"{n:,} {level}{'' if n == 1 else 's'}"
    ax.annotate(display_name(name, LETTERS), (1, 0.5), (6, 1), va="bottom", fontsize=8.5, **look)
    ax.annotate(count, (1, 0.5), (6, -1), va="top", fontsize=7.5, **look)


def _style_parts(ax: Axes, level: str, groups: list[np.ndarray]) -> None:
    ax.tick_params(labelsize=7.5)
    if level == "image":
        ax.set_ylim(bottom=0)
        ax.yaxis.set_major_locator(MaxNLocator(2, steps=[1, 2, 5, 10], integer=True))
        return
    ax.set_yscale("log", nonpositive="clip")
    ax.set_ylim(50 / max(len(scores) for scores in groups), 150)  # Down to half a pixel.
    ax.yaxis.set_major_locator(LogLocator(numticks=4))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_major_formatter(lambda part, _: f"{part:g}")


def _draw_thresholds(figure: Figure, rows: np.ndarray, thresholds: Mapping[str, float]) -> None:
    """Lines through all rows; each ends above them at its own height, with its name at the right.

    Names of lower thresholds are higher, so that no line crosses a name.
    """
    looks = line_styles(list(thresholds))
    page = figure.get_figheight()
    top, bottom = rows[0].get_position().y1, rows[-1].get_position().y0
    place = blended_transform_factory(rows[0].transData, figure.transFigure)
    beside = offset_copy(place, figure, x=0.05)
    for rank, name in enumerate(sorted(thresholds, key=lambda name: -thresholds[name])):
        value = thresholds[name]
        y = top + LEVEL * (rank + 0.6) / page
        look = {"linewidth": 1.3, "solid_capstyle": "butt", "transform": place, "label": name}
        figure.add_artist(Line2D([value, value], [bottom, y], **look, **looks[name]))
        words = name if is_number(name) else f"{display_name(name, LETTERS)}, {value:.3g}"
        look = {"fontsize": 7.5, "color": INK, "va": "center"}
        figure.text(value, y, words, transform=beside, **look)


def _draw_legend(figure: Figure, good: bool, faulty: bool, outline: str | None) -> None:
    entries: dict[str, Any] = {}
    if good:
        entries["good"] = Patch(color=GOOD)
    if faulty:
        entries["faulty"] = Patch(color=FAULTY)
    if outline is not None:
        entries[display_name(outline)] = Line2D([], [], color=INK, linewidth=0.8, alpha=0.7)
    look = {"fontsize": 8.5, "frameon": False, "ncols": len(entries), "handlelength": 1.4}
    figure.legend(list(entries.values()), list(entries), loc="lower center", **look)
