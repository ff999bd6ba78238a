"""The parts of a data set in memory: what a run is trained on, chosen by and tested on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jax
import numpy as np

from deeppose_jax.data.canvas import prepare
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.data.record import Record
from deeppose_jax.data_config import DataConfig
from deeppose_jax.oks import People
from deeppose_jax.skeleton import LSP, Skeleton
from engine_jax import parts
from engine_jax.errors import UserError
from engine_jax.lazy_images import LazyImages
from engine_jax.placement import Placement


@dataclass(frozen=True)
class Part:
    """A part of a data set.

    Attributes:
        poses: a person and an image each.
        names: of the images, or of the people in them.
        people: what COCO's scores are measured on, if the data set has their boxes and areas: those of `poses` in the
            same order, then those that no score counts.
    """

    poses: PoseSet
    names: list[str]
    people: People | None = None

    def __len__(self) -> int:
        return len(self.names)

    def first(self, count: int) -> "Part":
        """The first images of the part."""
        poses = jax.tree.map(lambda array: array[:count], self.poses)
        people = None if self.people is None else self.people.rows(slice(count))
        return Part(poses, self.names[:count], people)


@dataclass(frozen=True)
class Parts(parts.Parts[Part]):
    """The three parts of a run's data.

    Attributes:
        added: number of trailing training images from a data set that isn't tested on.
        skeleton: what the joints are.
    """

    added: int = 0
    skeleton: Skeleton = LSP


def prepare_part(
    records: Sequence[Record],
    config: DataConfig,
    box: Literal["image", "joints"],
    training: bool = False,
) -> Part:
    """A part of a data set that has no people's areas; raises as `prepare` does.

    Args:
        records: of the part.
        config: of the data.
        box: what fills the canvas.
        training: whether it is trained on, and so may stay in its files.
    """
    poses, names = prepare(
        records,
        config.canvas,
        box,
        config.extended_box_scale,
        skip_unreadable=config.skip_unreadable,
        in_files=training and config.placement == "files",
    )
    return Part(poses, names)


def check_parts(parts: Parts, skeleton: Skeleton, canvas: int) -> None:
    """Checks that parts which a program made fit together.

    Args:
        parts: the parts.
        skeleton: of their joints.
        canvas: pixels a side of their canvases.

    Raises:
        UserError: an array of another shape or type, numbers that aren't finite, or an empty part or box.
    """
    for name in ("train", "validation", "test"):
        part: Part = getattr(parts, name)
        n, k = len(part), skeleton.num_joints
        shapes = {
            "canvases": ((n, canvas, canvas, 3), "uint8"),
            "joints": ((n, k, 2), "float32"),
            "labelled": ((n, k), "bool"),
            "boxes": ((n, 4), "float32"),
            "to_image": ((n, 2, 3), "float32"),
        }
        for field, (shape, kind) in shapes.items():
            array = getattr(part.poses, field)
            lazy = isinstance(array, LazyImages)
            array = array if lazy else np.asarray(array)
            if array.shape != shape or array.dtype != kind:
                raise UserError(
                    f"parts.{name}.poses.{field}: {array.dtype} {list(array.shape)}; accepted: {kind} {list(shape)}"
                )
            if not lazy and not np.isfinite(array).all():
                raise UserError(f"parts.{name}.poses.{field}: not finite; accepted: finite numbers")
        boxes = np.asarray(part.poses.boxes)
        if not n or not (boxes[:, :2] < boxes[:, 2:]).all():
            raise UserError(f"parts.{name}: {n} images, or an empty box; accepted: some, in boxes")
        if part.people is not None and len(part.people) < n:
            raise UserError(f"parts.{name}.people: {len(part.people)} for {n} poses")


def check_placed(parts: Parts, placement: Placement) -> None:
    """Raises a UserError if the training images of parts that a program made aren't where a configuration has them."""
    lazy = isinstance(parts.train.poses.canvases, LazyImages)
    if lazy != (placement == "files"):
        where, accepted = ("files", "'files'") if lazy else ("memory", "'device' or 'stream'")
        raise UserError(
            f"config.data.placement: {placement!r}, but the canvases of parts.train are in {where}; "
            f"accepted: {accepted}"
        )
