"""Key points of people in COCO's JSON format, of any joints (Lin et al., ECCV 2014; https://cocodataset.org/#format-data).

`categories` name the joints and the limbs that drawings connect, `annotations` are the people, several an image. Joints
are pixels of which the top left one is (0, 0), as everywhere in this package; boxes (x, y, width, height) start at that
pixel's corner.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deeppose_jax.data.coco_json import (
    CROWD,
    NO_JOINTS,
    NO_SIZE,
    CocoPerson,
    category_skeleton,
    field,
    find_category,
    image_names,
    objects,
    read_object,
)
from deeppose_jax.data.record import Record
from deeppose_jax.oks import People
from deeppose_jax.skeleton import Skeleton
from engine_jax.errors import UserError, listed
from engine_jax.file_tree import folders_in, reader
from engine_jax.files import user_path


@dataclass(frozen=True, eq=False)
class CocoSet:
    """The people of a file.

    Attributes:
        category: whose key points they are.
        skeleton: what the joints are.
        records: the people that can be trained and tested on.
        people: those of `records` in their order, then those that are left out.
        images: how many images the file lists.
        left_out: how many people are left out, by the reason.
    """

    category: str
    skeleton: Skeleton
    records: list[Record]
    people: People
    images: int
    left_out: Mapping[str, int]


def open_coco(
    path: str | Path,
    images: str | Path = "",
    category: str = "",
    pairs: Sequence[Sequence[str]] = (),
    read_images: bool = True,
) -> CocoSet:
    """Reads a file of key points. Crowds, and people without joints or without a box to look at, are left out.

    Args:
        path: the JSON file.
        images: the folder of its images, or one above their folders; "" is the file's own.
        category: whose key points; "" is "person", or the only category that has some.
        pairs: left and right joints by name; by default they are found by their names.
        read_images: whether the images have to be there; without, the records can't be read.

    Raises:
        UserError: the file can't be read or is not as described, or an image isn't there.
    """
    path = user_path(path)
    held = read_object(path)
    try:
        chosen = find_category(held, category)
        skeleton = category_skeleton(chosen, pairs)
        names = image_names(held)
        found = [
            CocoPerson.of(entry, skeleton.num_joints, names)
            for entry in objects(held, "annotations")
            if field(entry, "category_id", int) == chosen["id"]
        ]
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    usable = [person for person in found if person.problem is None]
    others = [person for person in found if person.problem is not None]
    wanted = {names[person.image] for person in usable}
    files = _find_images(path, images, wanted) if read_images else {}
    records = [
        Record(
            name=f"{names[person.image]} ({person.number})",
            read=reader(files.get(names[person.image], path.parent / names[person.image])),
            joints=person.joints,
            labelled=person.visibility > 0,
            occluded=person.visibility == 1,
            box=person.region,
        )
        for person in usable
    ]
    counts = Counter(person.problem for person in others)
    left_out = {why: counts[why] for why in (CROWD, NO_JOINTS, NO_SIZE) if counts[why]}
    people = _people([*usable, *others], skeleton.num_joints)
    return CocoSet(chosen["name"], skeleton, records, people, len(names), left_out)


def _people(found: Sequence[CocoPerson], k: int) -> People:
    """What COCO's scores are measured on, in the file's own numbers."""
    corners = [
        (x, y, x + width, y + height) for x, y, width, height in (person.box for person in found)
    ]
    return People(
        images=np.array([person.image for person in found], np.int64),
        joints=np.array([person.joints for person in found], np.float64).reshape(-1, k, 2),
        labelled=np.array([person.visibility > 0 for person in found], bool).reshape(-1, k),
        areas=np.array([person.area for person in found], np.float64),
        boxes=np.array(corners, np.float64).reshape(-1, 4),
        crowd=np.array([person.crowd for person in found], bool),
        ignored=np.array([person.problem in (CROWD, NO_JOINTS) for person in found], bool),
    )


def _find_images(path: Path, images: str | Path, names: set[str]) -> dict[str, Path]:
    """Where the files of these names are: in the folder of the images, or in a folder in it."""
    root = user_path(images) if images else path.parent
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; expected the images of {path}")
    found = {name: root / name for name in names if (root / name).is_file()}
    missing = names - found.keys()
    for folder in folders_in(root) if missing else ():
        for name in missing:
            file = Path(str(folder)) / name
            if file.is_file():
                if name in found:
                    raise UserError(f"{root}: {name} is in {found[name].parent} and {folder}")
                found[name] = file
    if missing := sorted(names - found.keys()):
        raise UserError(
            f"{path}: {len(missing)} images are neither in {root} nor one folder below: {listed(missing, 3)}"
        )
    return found
