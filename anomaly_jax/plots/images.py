"""Predictions for single images: input, reconstruction, anomaly map, and masks at several thresholds."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from anomaly_jax import metrics
from anomaly_jax.plots.names import display_name, is_number
from engine_jax.plots import FAINT, INK, WIDTH

# From Okabe and Ito's palette for the colour blind; the last one where the true mask is not known.
FOUND, FALSE_ALARM, MISSED, UNKNOWN = "#0072B2", "#F0E442", "#D55E00", "#CC79A7"
MAP_COLOURS = "inferno"
ROBUST = 99.8  # percentile of the maps' values at which the colour scale ends

GAP, MARGIN, TITLE, HEAD, CAPTION, FOOT = 0.06, 0.28, 0.34, 0.36, 0.17, 0.5  # inches
SMALLEST, LARGEST = 1.12, 1.7  # inches of a tile


def detections(
    images: UInt8[np.ndarray, "n h w 3"],
    reconstructions: Float[np.ndarray, "n h w 3"] | None,
    maps: Float[np.ndarray, "n h w"],
    masks: Sequence[Bool[np.ndarray, "h w"] | None],
    thresholds: Mapping[str, float],
    names: Sequence[str],
    title: str,
) -> Figure:
    """A row for each image: the image, its reconstruction, its anomaly map, the true mask and those predicted.

    Predicted masks are drawn on the faded image, with a colour each for found pixels, false alarms and missed pixels.
    Below are the image's recall, precision and accuracy in percent, with a dash where one is undefined. All maps share
    a colour scale, which ends at their 99.8th percentile; lines in it mark the thresholds. With many columns the figure
    is wider than others.

    Args:
        images: uint8.
        reconstructions: clipped to [0, 1]; None leaves their column out.
        maps: finite.
        masks: bool, [n, h, w] or one for each image; None for an image whose faulty pixels are not known.
        thresholds: of the maps, by name; a pixel is predicted faulty where its map is at least the threshold.
        names: of the images.

    Raises:
        ValueError: there are no images, a shape or type is wrong, or a map or threshold is not finite.
    """
    images, maps = np.asarray(images), np.asarray(maps)
    _check(images, reconstructions, maps, masks, names)
    if not np.isfinite(list(thresholds.values())).all():
        raise ValueError(f"thresholds: {dict(thresholds)}; accepted: finite numbers")
    fixed = 3 if reconstructions is None else 4
    columns = fixed + len(thresholds)
    tile = min(max((WIDTH - MARGIN - GAP) / columns - GAP, SMALLEST), LARGEST)
    height = tile * images.shape[1] / images.shape[2]
    width = max(WIDTH, MARGIN + columns * (tile + GAP))
    page = TITLE + HEAD + len(images) * (height + CAPTION) + FOOT
    figure = Figure(figsize=(width, page))

    def text(x: float, y: float, words: str, size: float = 8, **look) -> None:
        figure.text(x / width, y / page, words, fontsize=size, color=INK, **look)

    def axes(column: int, row: int) -> Axes:
        x, y = MARGIN + column * (tile + GAP), page - TITLE - HEAD - row * (height + CAPTION)
        box = (x / width, (y - height) / page, tile / width, height / page)
        ax = figure.add_axes(box, facecolor="#ececec", xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        return ax

    scale = _colour_scale(maps)
    text(GAP, page - TITLE / 2, title, 11, va="center")
    heads = ["input", "reconstruction", "anomaly map", "true mask"]
    if reconstructions is None:
        heads.remove("reconstruction")
    heads += [_head(name, value) for name, value in thresholds.items()]
    for column, head in enumerate(heads):
        centre = MARGIN + column * (tile + GAP) + tile / 2
        text(centre, page - TITLE - HEAD + 0.05, head, ha="center", va="bottom")
    for row, (image, anomaly_map, mask) in enumerate(zip(images, maps, masks, strict=True)):
        top = page - TITLE - HEAD - row * (height + CAPTION)
        name = display_name(names[row], int(15 * height))
        text(MARGIN / 2 + 0.02, top - height / 2, name, 7.5, rotation=90, ha="center", va="center")
        axes(0, row).imshow(image)
        if reconstructions is not None:
            axes(1, row).imshow(np.clip(reconstructions[row], 0, 1))
        axes(fixed - 2, row).imshow(anomaly_map, cmap=MAP_COLOURS, norm=scale)
        _draw_mask(axes(fixed - 1, row), mask)
        for column, threshold in enumerate(thresholds.values(), fixed):
            predicted = _at_least(anomaly_map, threshold)
            axes(column, row).imshow(_overlay(image, predicted, mask))
        for column, rates in enumerate(_captions(anomaly_map, mask, thresholds), fixed):
            x = MARGIN + column * (tile + GAP) + tile / 2
            text(x, top - height - 0.035, rates, 7, ha="center", va="top")
    _draw_scale(figure, scale, thresholds)
    _draw_legend(figure, masks, bool(thresholds))
    return figure


def _check(
    images: np.ndarray,
    reconstructions: np.ndarray | None,
    maps: np.ndarray,
    masks: Sequence[np.ndarray | None],
    names: Sequence[str],
) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not len(images):
        raise ValueError(f"images are {images.dtype} {images.shape}, not uint8 [n, h, w, 3]")
    n, *size = images.shape[:3]
    if reconstructions is not None and reconstructions.shape != images.shape:
        raise ValueError(f"reconstructions are {reconstructions.shape}, not {images.shape}")
    if maps.shape != (n, *size):
        raise ValueError(f"maps are {maps.shape}, not {(n, *size)}")
    if not np.isfinite(maps).all():
        raise ValueError("maps: a value is not finite")
    if not len(masks) == len(names) == n:
        raise ValueError(f"{n} images, {len(masks)} masks and {len(names)} names")
    for i, mask in enumerate(masks):
        if mask is not None and (mask.dtype != bool or mask.shape != tuple(size)):
            raise ValueError(f"masks[{i}] is {mask.dtype} {mask.shape}, not bool {tuple(size)}")


def _colour_scale(maps: np.ndarray) -> Normalize:
    """From 0, or the lowest score if it is negative, to a percentile: a few high scores would leave the rest black."""
    low, high = min(0.0, float(maps.min())), float(np.percentile(maps, ROBUST))
    return Normalize(low, high if high > low else low + 1)


def _head(name: str, value: float) -> str:
    """A column's heading in two lines; the value is not repeated if it is the name."""
    return (
        f"predicted\nat {name}" if is_number(name) else f"{display_name(name, 20)}\nat {value:.3g}"
    )


def _at_least(anomaly_map: np.ndarray, threshold: float) -> np.ndarray:
    # In the map's own type, as in the metrics: a float32 score of 0.7 is at least 0.7.
    return anomaly_map >= np.asarray(threshold, anomaly_map.dtype)


def _draw_mask(ax: Axes, mask: np.ndarray | None) -> None:
    if mask is None:
        look = {"fontsize": 8, "color": INK, "ha": "center", "va": "center"}
        ax.text(0.5, 0.5, "no mask", transform=ax.transAxes, **look)
    else:
        ax.imshow(mask, cmap="gray", vmin=0, vmax=1)


def _overlay(
    image: np.ndarray, predicted: np.ndarray, mask: np.ndarray | None
) -> Float[np.ndarray, "h w 3"]:
    """The predicted mask, coloured by whether it is right, on the faded grey image."""
    grey = image.astype(np.float64).mean(-1, keepdims=True) / 255
    shown = np.repeat(0.42 + 0.46 * grey, 3, axis=-1)
    if mask is None:
        parts = ((predicted, UNKNOWN),)
    else:
        parts = (
            (predicted & mask, FOUND),
            (predicted & ~mask, FALSE_ALARM),
            (mask & ~predicted, MISSED),
        )
    for part, colour in parts:
        shown[part] = to_rgb(colour)
    return shown


def _captions(
    anomaly_map: np.ndarray, mask: np.ndarray | None, thresholds: Mapping[str, float]
) -> list[str]:
    """Recall, precision and accuracy of one image, in percent, at each threshold."""
    if mask is None:
        return []
    values = list(thresholds.values())
    rates = metrics.accuracies(anomaly_map[None], mask[None], values)
    rows = zip(rates["recall"], rates["precision"], rates["accuracy"], strict=True)
    return [" / ".join("-" if math.isnan(r) else f"{100 * r:.0f}" for r in row) for row in rows]


def _draw_scale(figure: Figure, scale: Normalize, thresholds: Mapping[str, float]) -> None:
    """The colour bar at the lower left, with the thresholds as white lines."""
    width, page = figure.get_size_inches()
    box = ((MARGIN + 0.8) / width, 0.26 / page, 1.9 / width, 0.11 / page)
    ax = figure.add_axes(box)
    shown = ScalarMappable(scale, MAP_COLOURS)
    bar = figure.colorbar(shown, cax=ax, orientation="horizontal", extend="max")
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    ax.tick_params(labelsize=7, color=FAINT, labelcolor=INK, length=2, pad=1.5)
    low, high = ax.get_xlim()
    look = {"fontsize": 7.5, "color": INK, "va": "center"}
    figure.text(MARGIN / width, 0.315 / page, "anomaly map", **look)
    if marked := [threshold for threshold in thresholds.values() if low < threshold < high]:
        ax.vlines(marked, 0, 1, color="white", linewidth=1)
        figure.text((MARGIN + 2.78) / width, 0.315 / page, "lines: thresholds", **look)


def _draw_legend(figure: Figure, masks: Sequence[np.ndarray | None], predicted: bool) -> None:
    if not predicted:
        return
    width, page = figure.get_size_inches()
    entries: dict[str, str] = {}
    if any(mask is not None for mask in masks):
        entries |= {"found": FOUND, "false alarm": FALSE_ALARM, "missed": MISSED}
    if any(mask is None for mask in masks):
        entries["predicted, truth unknown"] = UNKNOWN
    place = {"loc": "center right", "bbox_to_anchor": (1 - GAP / width, 0.34 / page)}
    look = {"fontsize": 8, "frameon": False, "borderpad": 0, "borderaxespad": 0}
    look |= {"handlelength": 1, "handleheight": 1, "handletextpad": 0.5, "columnspacing": 1.3}
    handles = [Patch(color=colour) for colour in entries.values()]
    figure.legend(handles, list(entries), ncols=len(entries), **look, **place)
    if len(entries) > 1:
        note = "beneath: recall / precision / accuracy of the image's pixels, %"
        look = {"fontsize": 7.5, "color": INK, "ha": "right", "va": "center"}
        figure.text(1 - GAP / width, 0.14 / page, note, **look)
