"""From images of any size and kind to square canvases that fit one array.

A record's region (the whole image, or a box around the person) is scaled, with its aspect ratio kept,
until its longer side fills the canvas, and centred. Where the canvas reaches beyond the region it
shows more of the image; beyond the image it has the image's mean colour, so that a crop across the
border shows no strong edge there.
"""

import math
from collections.abc import Sequence
from typing import Literal

import jax
import numpy as np
from jaxtyping import Bool, Float64, UInt8
from PIL import Image

from deeppose_jax.boxes import Box, input_box, whole_image
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.data.record import Record
from engine_jax.errors import UserError
from engine_jax.image_files import read_all, read_rgb, read_size
from engine_jax.lazy_images import LazyImages

# A labelled joint farther outside the image than this, in pixels, can't have been visible to the annotator.
_OUTSIDE = 1.0


def prepare(
    records: Sequence[Record],
    canvas: int,
    box: Literal["image", "joints"] = "image",
    box_scale: float = 1.3,
    *,
    skip_unreadable: bool = False,
    in_files: bool = False,
) -> tuple[PoseSet, list[str]]:
    """Decodes every image onto a square canvas, at once or whenever it is asked for.

    Images are turned upright by their EXIF orientation: joints are labelled on what a viewer shows.

    Args:
        records: n images with their joints.
        canvas: side c of the canvas, in pixels.
        box: the region that fills the canvas, and stage 1's box b^0, for records without a box of
            their own, which fills it as `boxes.input_box` enlarges it. "image" is the whole image
            (the paper's choice for LSP). "joints" is the box around the labelled joints
            (`joint_box`), for images which show much more than the person, as LSP Extended's do; it
            uses the labels, which must be said beside a score on such boxes.
        box_scale: for "joints", the longer side of the region over the longer side of the joints'
            bounding box.
        skip_unreadable: leave unreadable images out, with a warning that names them.
        in_files: leave the images in their files, of which only the size is read: the canvases are
            `LazyImages`.

    Returns:
        The pose set, and the names of the images in it. Boxes and joints are in canvas pixels,
        unlabelled joints (0, 0). A labelled joint more than one pixel outside its image counts as
        unlabelled.

    Raises:
        UserError: no records, an option out of range, an unreadable image, no readable image, a
            record's box outside of its image, or `skip_unreadable` with `in_files`.
    """
    if not records:
        raise UserError("prepare: no images were given")
    if canvas < 1:
        raise UserError(f"canvas: got {canvas}; expected a side of at least 1 pixel")
    if box not in ("image", "joints"):
        raise UserError(f'box: got {box!r}; expected "image" or "joints"')
    if box_scale < 1:
        raise UserError(f"box_scale: got {box_scale}; expected at least 1")
    if in_files and skip_unreadable:
        raise UserError("skip_unreadable: got True with in_files=True; expected False")
    n, k = len(records), len(records[0].joints)
    names, shape = [record.name for record in records], (canvas, canvas, 3)
    joints, labelled = np.zeros((n, k, 2), np.float32), np.zeros((n, k), bool)
    boxes, to_image = np.empty((n, 4), np.float32), np.empty((n, 2, 3), np.float32)

    def draw(i: int) -> UInt8[np.ndarray, "c c 3"]:
        image = read_rgb(records[i].read, names[i])
        return place(image, _region(records[i], image.size, box, box_scale), canvas)[0]

    canvases = LazyImages(draw, names, shape) if in_files else np.empty((n, *shape), np.uint8)

    def fill(i: int) -> None:
        if isinstance(canvases, LazyImages):
            size = read_size(records[i].read, names[i])
            region = _region(records[i], size, box, box_scale)
            affine = canvas_to_image(region, canvas)
        else:
            image = read_rgb(records[i].read, names[i])
            size, region = image.size, _region(records[i], image.size, box, box_scale)
            canvases[i], affine = place(image, region, canvas)
        labelled[i] = joints_inside(records[i], size)
        to_image[i] = affine
        joints[i, labelled[i]] = _on_canvas(records[i].joints[labelled[i]], affine)
        boxes[i] = box_on_canvas(region, affine)

    kept = read_all(fill, names, skip_unreadable=skip_unreadable)
    poses = PoseSet(canvases, joints, labelled, boxes, to_image)
    if len(kept) < n:
        poses = jax.tree.map(lambda array: array[kept], poses)
    return poses, [names[i] for i in kept]


def _region(
    record: Record, size: tuple[int, int], box: Literal["image", "joints"], box_scale: float
) -> Box:
    """What fills the canvas of a record's image of (width, height), in the image's pixels; see `prepare`."""
    if record.box is not None:
        region = input_box(record.box, *size)
        if not (region[0] < region[2] and region[1] < region[3]):
            w, h = size
            raise UserError(
                f"{record.name}: box {record.box} is outside of its image, {w}x{h} pixels"
            )
        return region
    seen = record.joints[joints_inside(record, size)]
    # One joint alone gives no size.
    if box == "joints" and len(seen) and np.ptp(seen, axis=0).max() >= 1:
        return joint_box(seen, box_scale)
    return whole_image(*size)


def place(
    image: Image.Image, region: Box, canvas: int
) -> tuple[UInt8[np.ndarray, "c c 3"], Float64[np.ndarray, "2 3"]]:
    """Draws the square around a region of an RGB image on a canvas, anti-aliased.

    The square has the region's centre and longer side.

    Args:
        image: an RGB image.
        region: (x0, y0, x1, y1) in the image's pixels; may reach outside the image.
        canvas: side c of the canvas.

    Returns:
        The canvas, and the affine map from its pixels to the image's.
    """
    x0, y0, x1, y1 = region
    cx, cy, side = (x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, y1 - y0)
    scale = side / canvas  # image pixels per canvas pixel
    # Pillow counts from the top left pixel's corner, half a pixel before its centre.
    left, top = cx + 0.5 - side / 2, cy + 0.5 - side / 2
    # The bicubic filter reads two pixels beyond the square, or two canvas pixels when it shrinks.
    margin = 2 * max(scale, 1)
    column, row = math.floor(left - margin), math.floor(top - margin)
    right, bottom = math.ceil(left + side + margin), math.ceil(top + side + margin)
    mean = image.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    window = Image.new("RGB", (right - column, bottom - row), mean)
    window.paste(image, (-column, -row))
    square = (left - column, top - row, left - column + side, top - row + side)
    resized = window.resize((canvas, canvas), Image.Resampling.BICUBIC, box=square)
    return np.asarray(resized), canvas_to_image(region, canvas)


def canvas_to_image(region: Box, canvas: int) -> Float64[np.ndarray, "2 3"]:
    """The affine map from a canvas's pixels to the image's, of which it shows a region as `place` draws it."""
    x0, y0, x1, y1 = region
    scale, centre = max(x1 - x0, y1 - y0) / canvas, (canvas - 1) / 2
    return np.array(
        [
            [scale, 0, (x0 + x1) / 2 - scale * centre],
            [0, scale, (y0 + y1) / 2 - scale * centre],
        ]
    )


def box_on_canvas(box: Box, to_image: Float64[np.ndarray, "2 3"]) -> Float64[np.ndarray, "4"]:
    """A box of the image, in canvas pixels; `to_image` is as `place` returns it."""
    return _on_canvas(np.reshape(box, (2, 2)), to_image).ravel()


def _on_canvas(points: np.ndarray, to_image: np.ndarray) -> np.ndarray:
    """Points of the image, [k, 2], in canvas pixels."""
    return (points - to_image[:, 2]) / to_image[0, 0]


def joint_box(joints: Float64[np.ndarray, "k 2"], box_scale: float) -> Box:
    """The joints' bounding box with the same margin on all four sides.

    The margin is (box_scale - 1) / 2 of the longer side, so that a person who stands straight doesn't get a narrow
    strip of a box. 1.3 is how LSP's own images frame their people: the median margin there is 0.16 of the longer side.
    """
    low, high = joints.min(axis=0), joints.max(axis=0)
    margin = (box_scale - 1) / 2 * (high - low).max()
    x0, y0, x1, y1 = (*(low - margin).tolist(), *(high + margin).tolist())
    return x0, y0, x1, y1


def joints_inside(record: Record, size: tuple[int, int]) -> Bool[np.ndarray, "k"]:
    """The labelled joints that lie in the image of (width, height), or at most a pixel outside."""
    low, high = -0.5 - _OUTSIDE, np.add(size, -0.5 + _OUTSIDE)
    return record.labelled & ((record.joints >= low) & (record.joints <= high)).all(axis=1)
