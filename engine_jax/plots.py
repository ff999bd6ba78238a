"""The style of all plots, and the plots of any training run: its loss and its metrics by epoch.

Every function takes numbers and returns a matplotlib Figure that belongs to the caller. pyplot is
not used, so there is no global state, and no display is needed.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from engine_jax.errors import UserError
from engine_jax.files import make_folder, write_file
from engine_jax.fonts import missing_characters_named, write_plainly

Row = Mapping[str, float]

WIDTH = 8.0  # inches: 1200 px at the resolution that save uses.
INK = "#222222"
FAINT = "#8a8a8a"
# Colours from Okabe and Ito's palette for the colour blind; markers differ for greyscale prints.
SPLITS = {"train": ("#E69F00", "o"), "validation": ("#0072B2", "s"), "test": ("#009E73", "^")}
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LEGEND = {"fontsize": 8, "facecolor": "white", "edgecolor": "none", "framealpha": 0.9}


def save(figure: Figure, path: str | Path, dpi: int = 150) -> None:
    """Writes a figure as PNG, whole or not at all, with equal bytes for equal figures; creates missing folders.

    Texts are drawn as they are: a $ begins no formula.

    Raises:
        UserError: another suffix, or a file that can't be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise UserError(f"{path}: a plot is saved as .png, not as {path.suffix or 'no suffix'}")
    write_plainly(figure)
    png = io.BytesIO()
    with missing_characters_named(path):
        figure.savefig(png, format="png", dpi=dpi, metadata={"Software": None})
    make_folder(path.parent)
    write_file(path, png.getvalue())


def style_axes(ax: Axes, title: str, xlabel: str, ylabel: str = "") -> None:
    """Title at the left, light grid, no box; integer ticks for the x labels "epoch" and "step"."""
    ax.set_title(title, fontsize=10, color=INK, loc="left")
    ax.set_xlabel(xlabel, fontsize=9, color=INK)
    ax.set_ylabel(ylabel, fontsize=9, color=INK)
    ax.tick_params(labelsize=8.5, color=FAINT, labelcolor=INK, which="both")
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(FAINT)
    ax.grid(color="#e6e6e6", linewidth=0.7)
    ax.set_axisbelow(True)
    if xlabel in ("epoch", "step"):
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))


def shorten(name: str, length: int, keep: Literal["start", "end"] = "end") -> str:
    """A name of at most `length` characters; a longer one keeps its start or its end, with an ellipsis."""
    if len(name) <= length:
        return name
    if length < 2:
        return ""
    return f"{name[: length - 1]}…" if keep == "start" else f"…{name[len(name) - length + 1 :]}"


def loss_curves(history: Sequence[Row]) -> Figure:
    """Loss per step, and per epoch for training and validation, with the lowest validation loss marked.

    Args:
        history: rows of metrics.jsonl, each with "step", "epoch" and some of "train/loss" (of
            training steps, with dropout and augmentation) and "validation/loss". Of two rows for a
            step the later one is used.

    Raises:
        UserError: the history is empty or contains neither loss.
    """
    _check(history, ("train/loss", "validation/loss"))
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    per_step, per_epoch = figure.subplots(1, 2)
    style_axes(per_step, "Loss per step, training", "step")
    style_axes(per_epoch, "Loss per epoch", "epoch")

    steps, losses = _series(history, "step", "train/loss")
    colour = SPLITS["train"][0]
    window = len(losses) // 40
    if window > 1:
        per_step.plot(steps, losses, color=colour, alpha=0.35, linewidth=0.8, label="as logged")
        label = f"mean of {window}"
        mean = np.convolve(losses, np.ones(window) / window, "valid")
        per_step.plot(steps[window - 1 :], mean, color=colour, linewidth=1.8, label=label)
        per_step.legend(loc="upper right", **LEGEND)
    elif len(losses):
        per_step.plot(steps, losses, color=colour, linewidth=1.5)

    epochs = _epoch_means(history, "train/loss")
    _plot_split(per_epoch, "train", *epochs)
    validation = _series(history, "epoch", "validation/loss")
    _plot_split(per_epoch, "validation", *validation)
    if np.isfinite(validation[1]).any():
        best = int(np.nanargmin(validation[1]))
        mark_epoch(per_epoch, validation[0][best], "lowest validation loss")
    per_epoch.legend(**LEGEND)
    for ax, values in ((per_step, losses), (per_epoch, np.append(epochs[1], validation[1]))):
        _logarithmic_if_wide(ax, values)
    return figure


def metric_curves(
    history: Sequence[Row],
    panels: Sequence[Mapping[str, str]],
    baseline: Mapping[str, float | None] | None = None,
    baseline_name: str = "baseline",
    best_epoch: float | None = None,
) -> Figure:
    """Metrics in percent per epoch: a panel for each metric, a line for each split.

    Args:
        history: rows of metrics.jsonl, each with "epoch" and some of "<split>/<metric>", for the
            splits train, validation and test.
        panels: titles by metric, row by row. The legend is to the right of the first row.
        baseline: scores of a trivial method, by metric, drawn as dotted lines; None where it has none.
        best_epoch: the epoch whose parameters were chosen, marked.

    Raises:
        UserError: the history is empty or contains none of these metrics.
    """
    _check(history, [f"{split}/{metric}" for split in SPLITS for row in panels for metric in row])
    columns = max(len(panels[0]) + 1, *map(len, panels))
    figure = Figure(figsize=(WIDTH, 2.5 * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), columns, squeeze=False)
    handles: dict[str, Artist] = {}
    for axes, titles in zip(grid, panels, strict=True):
        for ax in axes[len(titles) :]:
            ax.axis("off")
        for ax, (metric, title) in zip(axes, titles.items(), strict=False):
            style_axes(ax, title, "epoch", "%")
            top = 5.0
            for split in SPLITS:
                epochs, percent = _series(history, "epoch", f"{split}/{metric}")
                _plot_split(ax, split, epochs, percent)
                top = np.max(percent[np.isfinite(percent)], initial=top)
            if not ax.lines:
                ax.text(0.5, 0.5, "not measured", color=FAINT, ha="center", transform=ax.transAxes)
                ax.set(xticks=[], yticks=[])
                continue
            dotted = (baseline or {}).get(metric)
            if dotted is not None:
                top = max(top, dotted)
                look = {"color": INK, "linestyle": ":", "linewidth": 1.3}
                ax.axhline(dotted, label=baseline_name, **look)
            if best_epoch is not None:
                mark_epoch(ax, best_epoch, "chosen")
            ax.set_ylim(0, min(104, 1.12 * top))
            handles |= {str(line.get_label()): line for line in ax.lines}
    place = {"loc": "center", "frameon": False, "labelspacing": 0.8}
    grid[0, len(panels[0])].legend(handles.values(), handles.keys(), **place)
    return figure


def _check(history: Sequence[Row], keys: Sequence[str]) -> None:
    if not history:
        raise UserError("history: no rows; a plot needs those of a run's metrics.jsonl")
    if not any(key in row for row in history for key in keys):
        found = ", ".join(sorted({key for row in history for key in row})) or "nothing"
        raise UserError(f"history: rows hold {found}; a plot needs one of {', '.join(keys)}")


def _series(history: Sequence[Row], x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the rows that have both, sorted by x; of two rows with equal x (a resumed run) the later."""
    points = sorted({row[x]: row[y] for row in history if x in row and y in row}.items())
    return np.array([p[0] for p in points], float), np.array([p[1] for p in points], float)


def _epoch_means(history: Sequence[Row], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Means over the steps of each epoch; a step at epoch 2.4 belongs to epoch 3, which ends at 3.0."""
    at, values = _series(history, "epoch", key)
    epoch = np.maximum(np.ceil(np.round(at, 6)), 1)
    ends = np.unique(epoch)
    return ends, np.array([values[epoch == end].mean() for end in ends])


def _plot_split(ax: Axes, split: str, epochs: np.ndarray, values: np.ndarray) -> None:
    if len(values):
        colour, marker = SPLITS[split]
        every = max(1, len(values) // 10)
        style = {"marker": marker, "markersize": 4, "markevery": every, "linewidth": 1.6}
        ax.plot(epochs, values, color=colour, label=split, **style)
        ax.set_xlim(0, max(1.03 * epochs[-1], ax.get_xlim()[1]))


def mark_epoch(ax: Axes, epoch: float, label: str, colour: str = INK) -> None:
    """Draws a dashed line at an epoch."""
    label = f"{label}, epoch {epoch:g}"
    ax.axvline(epoch, color=colour, linestyle=(0, (4, 3)), linewidth=1.0, label=label, zorder=1)


def _logarithmic_if_wide(ax: Axes, values: np.ndarray) -> None:
    """A logarithmic axis if the loss falls by more than ten times: most of it would be flat on a linear one."""
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > 10 * values.min():
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(lambda loss, _: f"{loss:g}")
        ax.yaxis.set_minor_formatter(NullFormatter())
