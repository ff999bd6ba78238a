"""What is in a file of COCO's format, checked: its category of key points, its images, and its annotations.

Everything here raises a UserError that names what is wrong in the file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from deeppose_jax.skeleton import Skeleton, make_skeleton
from engine_jax.errors import UserError, listed, reason
from engine_jax.files import read_file

# Why a person is not trained or tested on.
CROWD, NO_JOINTS, NO_SIZE = "crowds", "people without joints", "boxes without a size"

_LARGEST = 2**63  # of a number; JSON has larger ones, which arrays don't hold


@dataclass(frozen=True)
class CocoPerson:
    """An annotation.

    Attributes:
        number: its id.
        image: its image's.
        joints: [k, 2] as in the file.
        visibility: [k], 0 not labelled, 1 labelled and not visible, 2 visible.
        box: (x, y, width, height) as in the file.
        area: of the person.
        crowd: whether it stands for several.
        problem: why it can't be trained on, or None.
    """

    number: int
    image: int
    joints: np.ndarray
    visibility: np.ndarray
    box: tuple[float, float, float, float]
    area: float
    crowd: bool
    problem: str | None

    @classmethod
    def of(cls, entry: Mapping[str, Any], k: int, names: Mapping[int, str]) -> "CocoPerson":
        """The person of an annotation of k joints; `names` are the images' by id."""
        number, image = field(entry, "id", int), field(entry, "image_id", int)
        where = f"annotation {number}"
        if image not in names:
            raise UserError(f"{where}: image_id {image} is not among the images")
        crowd = entry.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise UserError(f"{where}: iscrowd is {crowd!r}; accepted: 0 or 1")
        box = _numbers(entry.get("bbox"), 4, f"{where}: bbox")
        given = entry.get("keypoints", [0] * 3 * k if crowd else None)
        points = _numbers(given, 3 * k, f"{where}: keypoints").reshape(k, 3)
        if not np.isin(points[:, 2], (0, 1, 2)).all():
            raise UserError(
                f"{where}: visibilities are {points[:, 2].tolist()}; accepted: 0, 1 or 2 as each joint's third number"
            )
        (area,) = _numbers([entry.get("area", float(box[2] * box[3]))], 1, f"{where}: area")
        if area < 0:
            raise UserError(f"{where}: area is {area:g}; accepted: square pixels, 0 or more")
        problem = None
        if crowd:
            problem = CROWD
        elif not points[:, 2].any():
            problem = NO_JOINTS
        elif not (box[2] > 0 and box[3] > 0):
            problem = NO_SIZE
        x, y, width, height = box.tolist()
        return cls(
            number,
            image,
            points[:, :2],
            points[:, 2].astype(int),
            (x, y, width, height),
            float(area),
            bool(crowd),
            problem,
        )

    @property
    def region(self) -> tuple[float, float, float, float]:
        """The box as corners, in coordinates in which the top left pixel's centre is (0, 0)."""
        x, y, width, height = self.box
        return x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; raises a UserError that names it."""
    try:
        held = json.loads(read_file(path))
    except OSError as error:
        raise UserError(f"{path}: can't be read ({reason(error)})") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({reason(error)})") from error
    if not isinstance(held, dict):
        raise UserError(
            f"{path}: holds {type(held).__name__}; accepted: an object with images, annotations and categories"
        )
    return held


def objects(held: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The list of objects of a name."""
    entries = held.get(name)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{name}: missing, or not a list of objects")
    return entries


def field(entry: Mapping[str, Any], name: str, kind: type) -> Any:
    """An object's value of a name, which has to be of a type."""
    value: Any = entry.get(name)
    if type(value) is not kind or (kind is int and abs(value) >= _LARGEST):
        shown = repr(value) if name in entry else "missing"
        raise UserError(f"{name} of {_shown(entry)}: {shown}; accepted: {kind.__name__}")
    return value


def _shown(entry: Mapping[str, Any]) -> str:
    return reason(ValueError(json.dumps(entry)), most=60)


def _numbers(values: Any, count: int, where: str) -> np.ndarray:
    numbers = isinstance(values, list) and all(
        type(value) in (int, float) and abs(value) < _LARGEST for value in values
    )
    if not numbers or len(values) != count:
        found = f"{len(values)} values" if isinstance(values, list) else repr(values)
        raise UserError(f"{where}: {found}; accepted: {count} numbers")
    return np.array(values, np.float64)


def find_category(held: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The category whose key points are meant."""
    categories = objects(held, "categories")
    for entry in categories:
        field(entry, "id", int)
        field(entry, "name", str)
    with_joints = {entry["name"]: entry for entry in categories if entry.get("keypoints")}
    wanted = name or ("person" if "person" in with_joints else next(iter(with_joints), ""))
    if wanted not in with_joints or (not name and wanted != "person" and len(with_joints) > 1):
        found = listed(list(with_joints)) or "none"
        asked = f" named {name!r}" if name else ""
        raise UserError(
            f"categories: no single one{asked} with keypoints, found {found}; accepted: one, or the name of one"
        )
    return with_joints[wanted]


def category_skeleton(category: Mapping[str, Any], pairs: Sequence[Sequence[str]]) -> Skeleton:
    """The joints and limbs of a category, with the given pairs or those by name."""
    joints, limbs = category["keypoints"], category.get("skeleton") or []
    if not isinstance(joints, list) or not all(isinstance(joint, str) for joint in joints):
        raise UserError(f"categories: keypoints are {joints!r}; accepted: a list of names")
    if not isinstance(limbs, list) or not all(
        isinstance(limb, list) and len(limb) == 2 and all(type(end) is int for end in limb)
        for limb in limbs
    ):
        raise UserError("categories: skeleton: accepted: pairs of joints, counted from 1")
    for limb in limbs:
        if not all(1 <= end <= len(joints) for end in limb):
            raise UserError(
                f"categories: skeleton: {limb}; accepted: pairs of joints, counted from 1 to {len(joints)}"
            )
    sigmas = category.get("sigmas")
    if sigmas is not None:
        sigmas = _numbers(sigmas, len(joints), "categories: sigmas").tolist()
    return make_skeleton(joints, [(a - 1, b - 1) for a, b in limbs], pairs, sigmas)


def image_names(held: Mapping[str, Any]) -> dict[int, str]:
    """The images' file names by their ids."""
    names: dict[int, str] = {}
    for entry in objects(held, "images"):
        number, name = field(entry, "id", int), field(entry, "file_name", str)
        if number in names:
            raise UserError(f"images: two have the id {number}")
        path = PurePosixPath(name)
        if not path.name or path.is_absolute() or ".." in path.parts:
            raise UserError(
                f"images: file_name {name!r}; accepted: a path within the images' folder"
            )
        names[number] = name
    return names
