"""People's poses on their image, as predictions are shown."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke
from PIL import Image

from deeppose_jax.boxes import whole_image
from deeppose_jax.people import Person
from deeppose_jax.plots.skeletons import CASING, draw_skeleton
from deeppose_jax.skeleton import Skeleton

DPI = 150  # as `engine_jax.plots.save` writes

_SMALLEST, _LARGEST = 600, 2048  # pixels of a picture's longer side


def overlay(
    image: UInt8[np.ndarray, "h w 3"],
    people: Sequence[Person],
    skeleton: Skeleton,
    scores: bool = False,
) -> Figure:
    """The poses drawn on their image, 600 to 2048 pixels on the longer side, with the boxes if they aren't all.

    With `scores`, each person's is written above the pose, and each joint's beside the joint.
    """
    height, width = image.shape[:2]
    longer = max(height, width)
    zoom = min(max(1.0, _SMALLEST / longer), _LARGEST / longer)
    if zoom < 1:  # What draws takes a hundred bytes a pixel.
        shown = (round(width * zoom), round(height * zoom))
        image = np.asarray(Image.fromarray(image).resize(shown, Image.Resampling.BOX))
    figure = Figure(figsize=(width * zoom / DPI, height * zoom / DPI))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(image, extent=(-0.5, width - 0.5, height - 0.5, -0.5))
    axes.axis("off")
    for person in people:
        joints = person.prediction.joints
        draw_skeleton(axes, joints, np.ones(len(joints), bool), skeleton)
        if person.found.box != whole_image(width, height):
            x0, y0, x1, y1 = person.found.box
            axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="white"))
    if scores:  # Above everybody's limbs.
        for person in people:
            _write_scores(axes, person, (width, height))
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    return figure


def _write_scores(axes: Axes, person: Person, size: tuple[int, int]) -> None:
    joints = person.prediction.joints
    edge = {"path_effects": [Stroke(linewidth=1.8, foreground=CASING), Normal()], "color": "white"}
    for (x, y), score in zip(joints, person.joint_scores, strict=True):
        beside = {"xytext": (4, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(f"{score:.2f}", (x, y), fontsize=5, **beside, **edge)
    top = joints[np.argmin(joints[:, 1])]
    x, y = np.clip(top, 0, np.array(size) - 1)
    side = 1 if y > size[1] / 10 else -1  # Above the pose, where there is room.
    place = {"xytext": (0, 9 * side), "textcoords": "offset points", "ha": "center"}
    place["va"] = "bottom" if side > 0 else "top"
    axes.annotate(f"{person.score:.2f}", (x, y), fontsize=9, fontweight="bold", **place, **edge)
