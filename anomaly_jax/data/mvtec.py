"""The layouts in which MVTec AD and MVTec LOCO AD were published.

    train/good/000.png                      good images
    validation/good/000.png                 good images, of LOCO
    test/good/000.png                       good images
    test/<defect>/000.png                   faulty images, a folder for each kind of defect
    ground_truth/<defect>/000_mask.png      which pixels of test/<defect>/000.png are faulty
    ground_truth/<defect>/000/000.png ...   of LOCO, in as many files as the image has faults

VisA's images lie in it too where they were converted, with the defect "bad".

Sources: Bergmann, Fauser, Sattlegger and Steger, "MVTec AD: A Comprehensive Real-World Dataset for Unsupervised Anomaly
Detection" (CVPR 2019); Bergmann, Batzner, Fauser, Sattlegger and Steger, "Beyond Dents and Scratches: Logical
Constraints in Unsupervised Anomaly Detection and Localization" (IJCV 2022).
"""

import logging
from collections import defaultdict
from functools import partial
from pathlib import PurePosixPath
from typing import Literal

from anomaly_jax.data.image_set import GOOD
from anomaly_jax.data.pixels import encoded_union
from anomaly_jax.data.records import Files, Record, Split
from engine_jax.errors import UserError
from engine_jax.image_files import is_image

# The published categories.
Category = Literal[
    "bottle",
    "cable",
    "capsule",
    "carpet",
    "grid",
    "hazelnut",
    "leather",
    "metal_nut",
    "pill",
    "screw",
    "tile",
    "toothbrush",
    "transistor",
    "wood",
    "zipper",
]

TRAIN, LAYOUT = "train/good", "train/good, test/good, test/<defect> and ground_truth/<defect>"
_VALIDATION, _TRUTH = "validation/good", "ground_truth"
_PARTS = ("train", "validation", "test", _TRUTH)
AIDS = (f"{_TRUTH}/",)
PATTERNS = (*(f"{part}/*/*" for part in _PARTS), f"{_TRUTH}/*/*/*")

logger = logging.getLogger(__name__)


def root(name: str) -> str | None:
    """The category's folder, if this is the path of an image with a place in the layout."""
    path = PurePosixPath(name)
    parts = ("", "", "", "", *path.parts)
    if not is_image(path):
        return None
    if parts[-3] in _PARTS:
        return "/".join(filter(None, parts[:-3]))
    if parts[-4] == _TRUTH:
        return "/".join(filter(None, parts[:-4]))
    return None


def records(where: str, files: Files) -> list[Record]:
    """The records of a category.

    A mask is named as its image, with or without "_mask" at the end, or lies in a folder that is. A defect without any
    mask is accepted, with a warning: its images count in image-level metrics only.

    Args:
        where: what an error calls the category.
        files: its images and masks by their paths, in natural order.

    Raises:
        UserError: a mask without its image, or an image without its mask among others that have one.
    """
    folders: dict[str, Files] = defaultdict(dict)
    for name, read in files.items():
        part, folder, file = name.split("/", 2)
        folders[f"{part}/{folder}"][file] = read
    splits: tuple[tuple[str, Split], ...] = ((TRAIN, "train"), (_VALIDATION, "validation"))
    found = [
        Record(f"{folder}/{name}", split, GOOD, read)
        for folder, split in splits
        for name, read in folders.get(folder, {}).items()
    ]
    defects = _named(folders, "test")
    for defect in _named(folders, _TRUTH):
        if defect not in defects:
            mask = next(iter(folders[f"{_TRUTH}/{defect}"]))
            raise UserError(
                f"{where}: ground_truth/{defect}/{mask}: a mask without its image; "
                f"there are no images in test/{defect}"
            )
    for defect in sorted(defects, key=lambda defect: (defect != GOOD, defect)):
        images = folders[f"test/{defect}"]
        parts = _united(defect, folders.get(f"{_TRUTH}/{defect}", {}))
        masks = _masks(where, defect, images, parts)
        if not masks and defect != GOOD:
            logger.warning(
                "%s: test/%s has no masks in ground_truth/%s: image-level metrics only",
                *(where, defect, defect),
            )
        found += [
            Record(f"test/{defect}/{name}", "test", defect, images[name], masks.get(name))
            for name in images
        ]
    return found


def _united(defect: str, masks: Files) -> Files:
    """The masks of a defect's images, with one for all of those in a folder."""
    found: Files = {}
    folders: dict[str, Files] = defaultdict(dict)
    for name, read in masks.items():
        folder, _, file = name.rpartition("/")
        if folder:
            folders[folder][f"{_TRUTH}/{defect}/{folder}/{file}"] = read
        else:
            found[name] = read
    return found | {folder: partial(encoded_union, reads) for folder, reads in folders.items()}


def _masks(where: str, defect: str, images: Files, masks: Files) -> Files:
    """The masks of a defect's images, by the image's file name."""
    if not masks:
        return {}
    by_stem: dict[str, str] = {}
    for name in images:
        other = by_stem.setdefault(PurePosixPath(name).stem, name)
        if other != name:
            raise UserError(f"{where}: test/{defect}: {other} and {name} would share a mask")
    found: dict[str, str] = {}
    for mask in masks:
        stem = PurePosixPath(mask).stem
        image = by_stem.get(stem.removesuffix("_mask")) or by_stem.get(stem)
        if image is None:
            raise UserError(
                f"{where}: ground_truth/{defect}/{mask}: a mask without its image; "
                f"expected test/{defect}/{stem.removesuffix('_mask')}.png"
            )
        if image in found:
            both = f"{found[image]} and {mask}"
            raise UserError(f"{where}: ground_truth/{defect}: {both} are both masks of {image}")
        found[image] = mask
    missing = [image for image in images if image not in found]
    if missing:
        raise UserError(
            f"{where}: test/{defect}/{missing[0]}: no mask "
            f"ground_truth/{defect}/{PurePosixPath(missing[0]).stem}_mask.png; expected one for "
            f"each of {len(images)} images or for none, found {len(found)}"
        )
    return {image: masks[mask] for image, mask in found.items()}


def _named(folders: dict[str, Files], part: str) -> list[str]:
    """The folders below test or ground_truth that hold images."""
    return [name.partition("/")[2] for name in folders if name.startswith(f"{part}/")]
