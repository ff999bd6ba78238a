"""The input and the targets of a cascade's refiners: crops, and displacements between estimates and true joints."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import MaxNLocator

from deeppose_jax.plots.poses import image_tiles
from deeppose_jax.plots.skeletons import CASING, COLOURS, joint_sides
from deeppose_jax.skeleton import Skeleton
from engine_jax.plots import INK, WIDTH, style_axes

Displacements = Mapping[str, Float[np.ndarray, "m 2"]] | Mapping[int, Float[np.ndarray, "m 2"]]

COLUMNS = 5
CLOUD = 2000  # points drawn in a panel
# Colours by a joint's side: bright on photographs, darker on white.
ON_IMAGE = {side: colours["trunk"] for side, colours in COLOURS.items()}
ON_PAPER = {"right": COLOURS["right"]["leg"], "left": COLOURS["left"]["leg"], "centre": "#6b6b6b"}
_OUTLINE = [Stroke(linewidth=3.2, foreground=CASING), Normal()]
# Markers of a crop's three points.
PREVIOUS = {"marker": "+", "color": "white", "markersize": 9, "markeredgewidth": 1.6}
PREVIOUS |= {"path_effects": _OUTLINE}
TRUE = {"marker": "o", "color": "white", "markersize": 10, "markeredgewidth": 1.6}
TRUE |= {"markerfacecolor": "none", "path_effects": _OUTLINE}
REFINED = {"marker": "o", "markersize": 6, "markeredgecolor": CASING, "markeredgewidth": 0.8}


def refiner_crops(
    crops: Float[np.ndarray, "k s s 3"] | UInt8[np.ndarray, "k s s 3"],
    predicted: Float[np.ndarray, "k 2"],
    true: Float[np.ndarray, "k 2"],
    labelled: Bool[np.ndarray, "k"],
    skeleton: Skeleton,
    title: str,
) -> Figure:
    """The inputs of a stage's refiners for one image, and the refined joints.

    A crop's centre is the previous stage's estimate. The numbers are the distances to the true joint
    before and after the stage, in box widths. A point outside its crop is an arrow at the border.

    Args:
        crops: [k, s, s, 3], a joint each; uint8, or floats in [0, 1].
        predicted: [k, 2] the refiners' estimates in the box's frame, in which the crop is
            [-0.5, 0.5]^2; with DeepPose's update, the predicted displacements.
        true: [k, 2] the true joints in the same frame.
        labelled: [k] bool, which of the true joints are known.

    Raises:
        ValueError: a shape is not the skeleton's, or float crops are not in [0, 1].
    """
    crops, labelled = np.asarray(crops), np.asarray(labelled, bool)
    predicted, true = np.asarray(predicted, float), np.asarray(true, float)
    k, size = skeleton.num_joints, crops.shape[1] if crops.ndim == 4 else 1
    _check_shape("crops", crops, (k, size, size, 3))
    _check_shape("predicted", predicted, (k, 2))
    _check_shape("true", true, (k, 2))
    _check_shape("labelled", labelled, (k,))
    before, after = np.hypot(*true.T), np.hypot(*(predicted - true).T)
    captions = [
        (name.replace("_", " "), f"{before[i]:.2f}→{after[i]:.2f}" if labelled[i] else "no label")
        for i, name in enumerate(skeleton.joints)
    ]
    note = "distance to the true joint, before→after, box widths"
    figure, tiles = image_tiles(list(_to_bytes(crops)), title, COLUMNS, captions, note)
    for i, (ax, side) in enumerate(zip(tiles, joint_sides(skeleton), strict=True)):
        centre = np.full(2, (size - 1) / 2)  # The box ends at the outer edges of the outer pixels.
        at = centre + size * predicted[i]
        ax.plot(*np.stack([centre, at], 1), color=ON_IMAGE[side], lw=1.4, path_effects=_OUTLINE)
        _mark(ax, centre, size, **PREVIOUS)
        if labelled[i]:
            _mark(ax, centre + size * true[i], size, **TRUE)
        _mark(ax, at, size, **REFINED, color=ON_IMAGE[side])
        ax.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))
    entries = {
        "previous estimate": PREVIOUS,
        "refined, right": REFINED | {"color": ON_IMAGE["right"]},
        "refined, left": REFINED | {"color": ON_IMAGE["left"]},
        "refined, centre": REFINED | {"color": ON_IMAGE["centre"]},
        "true joint": TRUE,
        "outside the crop": {"marker": ">", "color": "white", "path_effects": _OUTLINE},
    }
    handles = [Line2D([], [], linestyle="", **look) for look in entries.values()]
    place = {"loc": "lower center", "ncols": len(entries), "frameon": False, "fontsize": 8.5}
    figure.legend(handles, entries.keys(), handletextpad=0.4, columnspacing=1.3, **place)
    return figure


def displacement_clouds(
    displacements: Displacements,
    means: Float[np.ndarray, "k 2"],
    covariances: Float[np.ndarray, "k 2 2"],
    skeleton: Skeleton,
    title: str,
    sigma: float | None = None,
) -> Figure:
    """Displacements of a stage's estimates from the true joints, and the normals fitted to them.

    A refiner is trained on boxes around draws from the normal (DeepPose, section 3.2), so that the
    points should fill the ellipses. Most of them should lie in the square: where the displacement is
    in the square, the box around the estimate contains the true joint.

    Args:
        displacements: by joint (name or index), [m, 2] of y_i^(s-1) - y_i, in units of diam; those
            that are not finite are left out. At most 2000, evenly spread, are drawn; percentages
            are of all.
        means, covariances: [k, 2] and [k, 2, 2] of the fitted normals, drawn if they are finite.
        sigma: the box's width in units of diam, drawn as a square; above it stands the percentage
            of true joints that are in their boxes.

    Raises:
        ValueError: no displacements, a joint that the skeleton doesn't have, or a wrong shape.
    """
    means, covariances = np.asarray(means, float), np.asarray(covariances, float)
    k = skeleton.num_joints
    _check_shape("means", means, (k, 2))
    _check_shape("covariances", covariances, (k, 2, 2))
    clouds = _clouds(displacements, skeleton)
    curves = {joint: _ellipses(means[joint], covariances[joint]) for joint in clouds}
    reach = _reach(clouds, curves, sigma)
    sides = joint_sides(skeleton)
    rows = math.ceil(len(clouds) / COLUMNS)
    figure = Figure(figsize=(WIDTH, 0.8 + 1.75 * rows), layout="constrained")
    figure.suptitle(title, fontsize=11, color=INK, x=0.012, ha="left")
    panels = figure.subplots(rows, COLUMNS, squeeze=False)
    for i, (ax, (joint, points)) in enumerate(zip(panels.flat, clouds.items(), strict=False)):
        style_axes(ax, skeleton.joints[joint].replace("_", " "), "")
        ax.title.set_fontsize(9)
        _draw_cloud(ax, points, curves[joint], ON_PAPER[sides[joint]], sigma)
        # y points down, as in the image: an estimate that is too low is below the middle.
        ax.set(xlim=(-reach, reach), ylim=(reach, -reach), aspect="equal")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        ax.tick_params(labelbottom=i + COLUMNS >= len(clouds), labelleft=i % COLUMNS == 0)
        beyond = 100 * np.mean(np.abs(points).max(-1) > reach) if len(points) else 0.0
        if round(beyond) >= 1:
            look = {"fontsize": 7.5, "color": INK, "ha": "right", "transform": ax.transAxes}
            ax.text(0.98, 0.03, f"{beyond:.0f} % beyond", **look)
    for ax in panels.flat[len(clouds) :]:
        ax.axis("off")
    _cloud_legend(figure, [sides[joint] for joint in clouds], sigma)
    return figure


def _check_shape(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, not {shape}")


def _to_bytes(crops: np.ndarray) -> np.ndarray:
    if crops.dtype == np.uint8:
        return crops
    low, high = crops.min(), crops.max()
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # Resampling rounds.
        raise ValueError(f"crops are {crops.dtype} in [{low:.3g}, {high:.3g}], not in [0, 1]")
    return np.round(255 * np.clip(crops, 0, 1)).astype(np.uint8)


def _mark(ax: Axes, at: np.ndarray, size: int, **look: Any) -> None:
    """A marker in the crop, or an arrow at the border towards a point outside of it."""
    centre = np.full(2, (size - 1) / 2)
    far = np.abs(at - centre).max() / size  # 0.5 at the border
    if not np.isfinite(far):
        return
    if far <= 0.5:
        ax.plot(*at, linestyle="", **look)
        return
    tip, tail = (centre + share / far * (at - centre) for share in (0.49, 0.36))
    style = {"arrowstyle": "-|>", "mutation_scale": 9, "linewidth": 1.8, "color": look["color"]}
    style |= {"shrinkA": 0, "shrinkB": 0, "path_effects": _OUTLINE}
    ax.annotate("", xy=tuple(tip), xytext=tuple(tail), arrowprops=style)


def _clouds(displacements: Displacements, skeleton: Skeleton) -> dict[int, np.ndarray]:
    """Points by joint index, in the skeleton's order."""
    clouds = {}
    for joint, points in displacements.items():
        if joint not in skeleton.joints and joint not in range(skeleton.num_joints):
            raise ValueError(f"displacements: the skeleton has no joint {joint!r}")
        points = np.asarray(points, float)
        _check_shape(f"displacements[{joint!r}]", points, (len(points), 2))
        index = skeleton.joints.index(joint) if isinstance(joint, str) else int(joint)
        clouds[index] = points[np.isfinite(points).all(-1)]
    if not clouds:
        raise ValueError("displacements: no joints; a panel is drawn for each")
    return dict(sorted(clouds.items()))


def _ellipses(mean: np.ndarray, covariance: np.ndarray) -> list[np.ndarray]:
    """The points one and two standard deviations from the mean, each [m, 2]."""
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        return []
    variances, axes = np.linalg.eigh(covariance)
    root = axes * np.sqrt(np.maximum(variances, 0))  # covariance = root @ root.T
    turn = np.linspace(0, 2 * np.pi, 73)
    circle = np.stack([np.cos(turn), np.sin(turn)], -1)
    return [mean + deviations * circle @ root.T for deviations in (1, 2)]


def _reach(
    clouds: Mapping[int, np.ndarray], curves: Mapping[int, list[np.ndarray]], sigma: float | None
) -> float:
    """The half-width of every panel: boxes, ellipses and 98 of 100 points of each joint fit in."""
    reach = [0.5 * (sigma or 0.0)]
    for points in clouds.values():
        if len(points):
            reach.append(float(np.percentile(np.abs(points).max(-1), 98)))
    reach += [float(np.abs(curve).max()) for ellipses in curves.values() for curve in ellipses]
    return 1.05 * max(reach) or 1.0


def _draw_cloud(
    ax: Axes,
    points: np.ndarray,
    ellipses: Sequence[np.ndarray],
    colour: str,
    sigma: float | None,
) -> None:
    shown = points[np.linspace(0, len(points) - 1, min(len(points), CLOUD)).astype(int)]
    alpha = float(np.clip(20 / math.sqrt(max(len(shown), 1)), 0.25, 0.8))
    look = {"linestyle": "", "marker": "o", "markersize": 2, "markeredgewidth": 0, "alpha": alpha}
    ax.plot(shown[:, 0], shown[:, 1], color=colour, **look)
    for ellipse in ellipses:
        ax.plot(ellipse[:, 0], ellipse[:, 1], color=INK, linewidth=1.1)
    ax.plot(0, 0, "+", color=INK, markersize=7, markeredgewidth=1.2)
    if sigma is not None:
        square = Rectangle((-sigma / 2, -sigma / 2), sigma, sigma, fill=False, linestyle="--")
        square.set(edgecolor=INK, linewidth=1.0)
        ax.add_patch(square)
        if len(points):
            inside = 100 * np.mean(np.abs(points).max(-1) <= sigma / 2)
            ax.set_title(f"{inside:.0f} %", fontsize=8, color=INK, loc="right")


def _cloud_legend(figure: Figure, sides: Sequence[str], sigma: float | None) -> None:
    dot = {"linestyle": "", "marker": "o", "markersize": 4}
    entries = {
        side: Line2D([], [], color=colour, **dot)
        for side, colour in ON_PAPER.items()
        if side in sides
    }
    entries["true joint"] = Line2D([], [], color=INK, linestyle="", marker="+", markersize=7)
    entries["normal, 1 and 2 sd"] = Line2D([], [], color=INK, linewidth=1.1)
    if sigma is not None:
        label = f"box, {sigma:g} diam wide, and % inside"
        entries[label] = Line2D([], [], color=INK, linestyle="--", linewidth=1.0)
    place = {"loc": "outside lower center", "ncols": len(entries), "frameon": False}
    look = {"fontsize": 8.5, "handletextpad": 0.5, "columnspacing": 1.2}
    figure.legend(list(entries.values()), list(entries), **look, **place)
    note = {"fontsize": 7.5, "color": INK, "ha": "right", "va": "top"}
    figure.text(0.988, 1 - 0.06 / figure.get_figheight(), "estimate minus true joint, diam", **note)
