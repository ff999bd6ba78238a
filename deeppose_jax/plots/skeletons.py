"""Drawing a skeleton: the colours of its limbs and sides, a pose on an image, the legend."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke

from deeppose_jax.skeleton import Skeleton

# Warm colours are the person's right, cool ones the left: orange and blue are distinguishable in every
# common form of colour blindness. Within a side, arm, trunk and leg differ in lightness.
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


def joint_sides(skeleton: Skeleton) -> list[str]:
    """Each joint's side: "left", "right", or "centre" where limbs of both sides meet or of neither."""
    sides: list[set[str]] = [set() for _ in skeleton.joints]
    for start, stop, side in skeleton.limbs:
        if side != "centre":
            sides[start].add(side)
            sides[stop].add(side)
    return [met.pop() if len(met) == 1 else "centre" for met in sides]


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
    """Draws a pose's limbs, with a thin dark outline that is visible on any background.

    Joints that are not labelled (or not finite), and their limbs, are left out. The limits of the
    axes do not change.

    Args:
        ax: axes in pixel coordinates, as imshow leaves them.
        joints: [k, 2] pixels.
        labelled: [k] bool.
        colour: of all limbs, and of a ring around joints that no limb has. By default limbs have
            the colours of their side and part, and joints are marked with dots.
        width: of a limb, in points; the outline adds 0.6 on each side.

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
    linked = {joint for start, stop, _ in skeleton.limbs for joint in (start, stop)}
    alone = [joint for joint in np.flatnonzero(drawn) if joint not in linked]
    if colour is not None and alone:
        look = {"color": colour, "marker": "o", "markersize": 3 * width + 2, "linestyle": ""}
        look |= {"markerfacecolor": "none", "markeredgewidth": width}
        ax.add_line(Line2D(joints[alone, 0], joints[alone, 1], **look))
    if colour is None:
        look = {"color": "white", "markeredgecolor": CASING, "markeredgewidth": 0.6}
        # Above the limbs of poses drawn later, so that a small pose is visible under the true one.
        look |= {"marker": "o", "markersize": 1.3 * width, "linestyle": "", "zorder": 2.1}
        ax.add_line(Line2D(joints[drawn, 0], joints[drawn, 1], **look))


def limb_legend(figure: Figure) -> None:
    """A legend of draw_skeleton's colours and of the dashed true pose, at the bottom of the figure."""
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
