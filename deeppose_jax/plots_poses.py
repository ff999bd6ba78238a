"""Poses on images: one skeleton, grids of predictions, grids of training samples."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke

from deeppose_jax.plots import INK, WIDTH
from deeppose_jax.skeleton import Skeleton

# Warm is the person's right, cool the left: orange and blue stay apart in every common form of
# colour blindness. Within a side, lightness tells arm, trunk and leg apart.
COLOURS = {
    "right": {"arm": "#FFC857", "trunk": "#FB8B24", "leg": "#D7370F"},
    "left": {"arm": "#8FD8FF", "trunk": "#3BA0F0", "leg": "#1F5FD0"},
    "centre": {"trunk": "#F7F3C4"},
}
CASING = "#101010"


def limb_colours(skeleton: Skeleton) -> list[str]:
    """The colour of each of the skeleton's limbs."""
    parts = {frozenset(stick.start + stick.stop): stick.part for stick in skeleton.sticks}
    colours = []
    for start, stop, side in skeleton.limbs:
        part = parts.get(frozenset((start, stop)), "")
        group = part.rpartition("_")[2]  # "upper_arm" is an arm.
        colours.append(COLOURS[side].get(group, COLOURS[side]["trunk"]))
    return colours


def draw_skeleton(
    ax: Axes,
    joints: Float[np.ndarray, "k 2"],
    labelled: Bool[np.ndarray, "k"],
    skeleton: Skeleton,
    *,
    colour: str | None = None,
    style: str = "-",
    width: float = 2.2,
) -> None:
    """Draw a pose's limbs, with a thin dark casing that reads on any background.

    Joints that are not labelled (or not finite), and the limbs that touch them, are left out. The
    limits of the axes stay as they are.

    Args:
        ax: axes in pixel coordinates, as imshow leaves them.
        joints: [k, 2] pixels.
        labelled: [k] bool.
        colour: of all limbs; by default limbs have the colours of their side and part, and joints
            have dots.
        width: of a limb, in points; the casing adds 0.6 on each side.

    Raises:
        ValueError: a shape is not the skeleton's.
    """
    joints, labelled = np.asarray(joints, float), np.asarray(labelled, bool)
    if joints.shape != (skeleton.num_joints, 2) or labelled.shape != (skeleton.num_joints,):
        raise ValueError(
            f"joints {joints.shape} and labelled {labelled.shape}: this skeleton takes "
            f"({skeleton.num_joints}, 2) and ({skeleton.num_joints},)"
        )
    drawn = labelled & np.isfinite(joints).all(-1)
    casing = [Stroke(linewidth=width + 1.2, foreground=CASING), Normal()]
    for (start, stop, _), limb_colour in zip(skeleton.limbs, limb_colours(skeleton), strict=True):
        if drawn[start] and drawn[stop]:
            ends = joints[[start, stop]]
            look = {"color": colour or limb_colour, "linestyle": style, "linewidth": width}
            look |= {"path_effects": casing, "solid_capstyle": "round"}
            ax.add_line(Line2D(ends[:, 0], ends[:, 1], **look))
    if colour is None:
        look = {"color": "white", "markeredgecolor": CASING, "markeredgewidth": 0.6}
        look |= {"marker": "o", "markersize": 1.3 * width, "linestyle": ""}
        ax.add_line(Line2D(joints[drawn, 0], joints[drawn, 1], **look))


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
        true, predicted: [n, k, 2] in each image's pixels. A predicted pose is drawn whole.
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
    note = "PDJ: joints within 0.2 torso lengths"
    figure, tiles = _tiles(images, title, columns, captions, note)
    for i, ax in enumerate(tiles):
        draw_skeleton(ax, predicted[i], np.ones(k, bool), skeleton)
        draw_skeleton(ax, true[i], labelled[i], skeleton, colour="white", style="--", width=0.9)
    _legend(figure)
    return figure


def samples_grid(
    images: Sequence[UInt8[np.ndarray, "h w 3"]],
    joints: Float[np.ndarray, "n k 2"],
    labelled: Bool[np.ndarray, "n k"],
    skeleton: Skeleton,
    title: str = "Training samples",
    columns: int = 6,
) -> Figure:
    """What the network is trained on: augmented images and the joints that moved with them.

    Args:
        images: n of uint8 [h, w, 3].
        joints: [n, k, 2] in each image's pixels.
        labelled: [n, k] bool.

    Raises:
        ValueError: no images, or images and poses that don't match.
    """
    joints, labelled = np.asarray(joints, float), np.asarray(labelled, bool)
    _check(images, skeleton.num_joints, joints=joints, labelled=labelled)
    figure, tiles = _tiles(images, title, columns)
    for ax, pose, known in zip(tiles, joints, labelled, strict=True):
        draw_skeleton(ax, pose, known, skeleton, width=1.8)
    return figure


def _tiles(
    images: Sequence[np.ndarray],
    title: str,
    columns: int,
    captions: Sequence[tuple[str, str]] = (),
    note: str = "",
) -> tuple[Figure, list[Axes]]:
    """A figure of equal tiles, an image in each, under captions at its left and right.

    Placed in inches: matplotlib's layout engines leave wide gaps between images of several shapes.
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
        # Joints outside an image that is narrower than its tile show on the grey beside it.
        ax = figure.add_axes(box, facecolor="#ececec", adjustable="datalim", xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.imshow(image)
        tiles.append(ax)
        if captions:
            name, score = captions[i]
            letters = int(17 * width) - len(score) - 2  # that fit beside the score
            y = (y + 0.05) / page
            figure.text(x / WIDTH, y, _shorten(name, letters), fontsize=7.5, color=INK)
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


def _pdj_caption(
    true: np.ndarray, predicted: np.ndarray, labelled: np.ndarray, skeleton: Skeleton
) -> str:
    """PDJ at 0.2 over the labelled joints of one image, which needs a labelled torso."""
    ends = list(skeleton.torso)
    if not labelled[ends].all():
        return "no torso"
    torso = np.linalg.norm(true[ends[0]] - true[ends[1]])
    errors = np.linalg.norm(predicted - true, axis=-1)[labelled]
    return f"PDJ {100 * np.mean(errors <= 0.2 * torso):.0f} %"


def _shorten(name: str, length: int) -> str:
    if len(name) <= length:
        return name
    return f"…{name[len(name) - length + 1 :]}" if length > 1 else ""


def _legend(figure: Figure) -> None:
    casing = [Stroke(linewidth=3.6, foreground=CASING), Normal()]

    def lines(colours: Iterable[str]) -> list[Line2D]:
        return [Line2D([], [], color=c, linewidth=2.4, path_effects=casing) for c in colours]

    true = Line2D([], [], color="white", linestyle="--", linewidth=1.2)
    true.set_path_effects([Stroke(linewidth=2.4, foreground=CASING), Normal()])
    entries: dict[str, Any] = {
        "right arm, trunk, leg": tuple(lines(COLOURS["right"].values())),
        "left arm, trunk, leg": tuple(lines(COLOURS["left"].values())),
        "head": lines(COLOURS["centre"].values())[0],
        "true pose": true,
    }
    figure.legend(
        entries.values(),
        entries.keys(),
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0.25)},
        loc="lower center",
        ncols=len(entries),
        handlelength=4,
        frameon=False,
        fontsize=8.5,
    )
