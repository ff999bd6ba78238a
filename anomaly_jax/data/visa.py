"""The layout in which VisA was published.

    Data/Images/Normal/0000.JPG         good images
    Data/Images/Anomaly/000.JPG         faulty images
    Data/Masks/Anomaly/000.png          which of their pixels are faulty: all that are not 0
    ../split_csv/1cls.csv               beside the categories: which good images are for training

Where the last is missing, each tenth good image is tested on.

Source: Zou, Jeong, Pemula, Zhang and Dabeer, "SPot-the-Difference Self-Supervised Pre-training for Anomaly Detection
and Segmentation" (ECCV 2022).
"""

import csv
import io
import logging
from functools import partial
from pathlib import PurePosixPath

from anomaly_jax.data.image_set import GOOD
from anomaly_jax.data.pixels import encoded_union
from anomaly_jax.data.records import Files, Read, Record
from engine_jax.errors import UserError
from engine_jax.image_files import is_image, read_bytes

NORMAL, _FAULTY, _MASKS = "Data/Images/Normal", "Data/Images/Anomaly", "Data/Masks/Anomaly"
SPLIT = "split_csv/1cls.csv"
AIDS = (f"{_MASKS}/", SPLIT)
PATTERNS = tuple(f"{folder}/*" for folder in (NORMAL, _FAULTY, _MASKS))

_DEFECT = "anomaly"
_TENTH = 10

logger = logging.getLogger(__name__)


def root(name: str) -> str | None:
    """The category's folder, if this is the path of a file with a place in the layout."""
    path = PurePosixPath(name)
    *above, data, kind, folder, _ = ("", "", "", *path.parts)
    if f"{data}/{kind}/{folder}" not in (NORMAL, _FAULTY, _MASKS) or not is_image(path):
        return None
    return "/".join(filter(None, above))


def records(where: str, files: Files) -> list[Record]:
    """The records of a category.

    Args:
        where: what an error calls the category.
        files: its files by their paths, in natural order.

    Raises:
        UserError: a mask without its image, a faulty image without its mask, or a split file that can't be read.
    """
    normal = {name: read for name, read in files.items() if name.startswith(f"{NORMAL}/")}
    faulty = {name: read for name, read in files.items() if name.startswith(f"{_FAULTY}/")}
    masks = {
        PurePosixPath(name).stem: (name, read)
        for name, read in files.items()
        if name.startswith(f"{_MASKS}/")
    }
    for stem in masks.keys() ^ {PurePosixPath(name).stem for name in faulty}:
        raise UserError(
            f"{where}: {_FAULTY}/{stem} and {_MASKS}/{stem}: one is there without the other; expected an image and a "
            "mask"
        )
    if SPLIT in files:
        tested = _tested(where, files[SPLIT], normal)
    else:
        tested = set([*normal][_TENTH - 1 :: _TENTH])
        logger.warning(
            "%s: no %s: each tenth good image is tested on, %d of %d",
            *(where, SPLIT, len(tested), len(normal)),
        )
    found = [Record(n, "train", GOOD, read) for n, read in normal.items() if n not in tested]
    found += [Record(n, "test", GOOD, read) for n, read in normal.items() if n in tested]
    for name, read in faulty.items():
        mask = dict([masks[PurePosixPath(name).stem]])
        found.append(Record(name, "test", _DEFECT, read, partial(encoded_union, mask)))
    return found


def _tested(where: str, read: Read, normal: Files) -> set[str]:
    """The good images that the split file has for testing; all of them must stand in it."""
    text = read_bytes(read, SPLIT).decode(errors="replace")
    splits = {
        _below_category(row.get("image") or ""): row.get("split")
        for row in csv.DictReader(io.StringIO(text))
    }
    for name in normal:
        if splits.get(name) not in ("train", "test"):
            raise UserError(
                f"{where}: {name}: no row of {SPLIT} says whether it is for train or test; "
                "expected columns image and split with one for each image"
            )
    return {name for name in normal if splits[name] == "test"}


def _below_category(image: str) -> str:
    """candle/Data/Images/Normal/0000.JPG -> Data/Images/Normal/0000.JPG."""
    return image.partition("/")[2]
