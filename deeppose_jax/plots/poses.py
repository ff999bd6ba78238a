"""Poses on images: grids of predictions, and a cascade's poses stage by stage."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deeppose_jax.plots.skeletons import draw_skeleton, limb_legend
from deeppose_jax.skeleton import Skeleton
from engine_jax.plots import INK, WIDTH, shorten


def pose_grid(
    images: Sequence[UInt8[np.ndarray, "h w 3"]],
    true: Float[np.ndarray, "n k 2"],
    predicted: Float[np.ndarray, "n k 2"],
    labelled: Bool[np.ndarray, "n k"],
    skeleton: Skeleton,
    title: str,
    names: Sequence[str] | None = None,
    columns: int = 5,
) -> Figure:
    """Predicted poses in limb colours, true ones in dashed white, and each image's PDJ at 0.2.

    Args:
        images: n of uint8 [h, w, 3], of any sizes.
        true, predicted: [n, k, 2] in each image's pixels. All joints of predicted poses are drawn.
        labelled: [n, k] bool, which of the true joints are known.
        names: n captions.

    Raises:
        ValueError: no images, or images and poses that don't match.
    """
    true, predicted = np.asarray(true, float), np.asarray(predicted, float)
    labelled = np.asarray(labelled, bool)
    k = skeleton.num_joints
    _check(images, k, true=true, predicted=predicted, labelled=labelled)
    scores = [
        _pdj_caption(*poses, skeleton) for poses in zip(true, predicted, labelled, strict=True)
    ]
    captions = list(zip(names or [""] * len(images), scores, strict=True))
    note = _pdj_note(skeleton)
    figure, tiles = image_tiles(images, title, columns, captions, note)
    for i, ax in enumerate(tiles):
        draw_skeleton(ax, predicted[i], np.ones(k, bool), skeleton)
        draw_skeleton(ax, true[i], labelled[i], skeleton, colour="white", style="--", width=0.9)
    limb_legend(figure)
    return figure


def stages_row(
    images: Sequence[UInt8[np.ndarray, "h w 3"]],
    true: Float[np.ndarray, "n k 2"],
    by_stage: Sequence[Float[np.ndarray, "n k 2"]],
    labelled: Bool[np.ndarray, "n k"],
    skeleton: Skeleton,
    title: str,
    names: Sequence[str] | None = None,
) -> Figure:
    """A row for each image: its true pose, then each stage's pose over it, with PDJ at 0.2.

    Args:
        images: n of uint8 [h, w, 3], of any sizes.
        true: [n, k, 2] in each image's pixels; dashed white on the stages.
        by_stage: the poses after stage 1, 2, ..., each like `true`. All of their joints are drawn.
        labelled: [n, k] bool, which of the true joints are known.
        names: n captions.

    Raises:
        ValueError: no images or stages, or images and poses that don't match.
    """
    true, labelled = np.asarray(true, float), np.asarray(labelled, bool)
    stages = [np.asarray(stage, float) for stage in by_stage]
    if not stages:
        raise ValueError("by_stage: no stages; a row takes at least one")
    k = skeleton.num_joints
    named = {f"by_stage[{i}]": stage for i, stage in enumerate(stages)}
    _check(images, k, true=true, labelled=labelled, **named)
    captions, repeated = [], []
    for i, image in enumerate(images):
        captions.append((names[i], "true pose") if names else ("true pose", ""))
        for s, stage in enumerate(stages, 1):
            captions.append((f"stage {s}", _pdj_caption(true[i], stage[i], labelled[i], skeleton)))
        repeated += [image] * (1 + len(stages))
    note = _pdj_note(skeleton)
    figure, tiles = image_tiles(repeated, title, 1 + len(stages), captions, note)
    for i in range(len(images)):
        first, *rest = tiles[i * (1 + len(stages)) :][: 1 + len(stages)]
        draw_skeleton(first, true[i], labelled[i], skeleton)
        for ax, stage in zip(rest, stages, strict=True):
            draw_skeleton(ax, stage[i], np.ones(k, bool), skeleton)
            draw_skeleton(ax, true[i], labelled[i], skeleton, colour="white", style="--", width=0.9)
    limb_legend(figure)
    return figure


def image_tiles(
    images: Sequence[np.ndarray],
    title: str,
    columns: int,
    captions: Sequence[tuple[str, str]] = (),
    note: str = "",
) -> tuple[Figure, list[Axes]]:
    """A figure of equal tiles with an image each, and above it a caption at the left and one at the right.

    Placed in inches, because matplotlib's layout engines leave wide gaps between images of different shapes.
    """
    columns = min(columns, max(3, len(images)))
    rows = math.ceil(len(images) / columns)
    gap, caption, top, bottom = (0.1, 0.2, 0.36, 0.4) if captions else (0.1, 0.0, 0.36, 0.0)
    width = (WIDTH - gap) / columns - gap
    aspect = float(np.median([image.shape[0] / image.shape[1] for image in images]))
    height = width * min(max(aspect, 0.6), 1.5)
    page = top + rows * (caption + height + gap) + bottom
    figure = Figure(figsize=(WIDTH, page))
    figure.text(gap / WIDTH, 1 - top / 2 / page, title, fontsize=11, color=INK, va="center")
    right = {"fontsize": 7.5, "color": INK, "ha": "right"}
    figure.text(1 - gap / WIDTH, 1 - top / 2 / page, note, va="center", **right)
    tiles = []
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        x, y = gap + column * (width + gap), page - top - row * (caption + height + gap) - caption
        box = (x / WIDTH, (y - height) / page, width / WIDTH, height / page)
        # The grey beside an image that is narrower than its tile shows joints outside the image.
        ax = figure.add_axes(box, facecolor="#ececec", adjustable="datalim", xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.imshow(image)
        tiles.append(ax)
        if captions:
            name, score = captions[i]
            letters = int(17 * width) - len(score) - 2  # fit beside the score
            y = (y + 0.05) / page
            figure.text(x / WIDTH, y, shorten(name, letters), fontsize=7.5, color=INK)
            figure.text((x + width) / WIDTH, y, score, **right)
    return figure, tiles


def _check(images: Sequence[np.ndarray], k: int, **poses: np.ndarray) -> None:
    if len(images) == 0:
        raise ValueError("no images: a grid takes at least one")
    for i, image in enumerate(images):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"images[{i}] is {image.dtype} {image.shape}, not uint8 [h, w, 3]")
    for name, pose in poses.items():
        shape = (len(images), k) if name == "labelled" else (len(images), k, 2)
        if pose.shape != shape:
            raise ValueError(f"{name} has shape {pose.shape}, not {shape}")


def _pdj_note(skeleton: Skeleton) -> str:
    return "" if skeleton.torso is None else "PDJ: joints within 0.2 torso lengths"


def _pdj_caption(
    true: np.ndarray, predicted: np.ndarray, labelled: np.ndarray, skeleton: Skeleton
) -> str:
    """PDJ at 0.2 over the labelled joints of one image; "no torso" if none is labelled, "" if there can be none."""
    if skeleton.torso is None:
        return ""
    ends = list(skeleton.torso)
    if not labelled[ends].all():
        return "no torso"
    torso = np.linalg.norm(true[ends[0]] - true[ends[1]])
    errors = np.linalg.norm(predicted - true, axis=-1)[labelled]
    return f"PDJ {100 * np.mean(errors <= 0.2 * torso):.0f} %"
