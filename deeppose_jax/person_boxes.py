"""Boxes of people that a detector found, from a file: COCO JSON or CSV."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from deeppose_jax.boxes import Box
from engine_jax.errors import UserError, reason
from engine_jax.files import read_file

_COLUMNS = ("file", "x0", "y0", "x1", "y1")

# What reading a file that holds anything else raises.
_WRONG = (
    *(AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError),
    csv.Error,
)


@dataclass(frozen=True)
class PersonBox:
    """Where a person is in an image.

    Attributes:
        box: (x0, y0, x1, y1) in the image's pixels.
        score: the detector's; None if it gave none.
    """

    box: Box
    score: float | None = None


@dataclass(frozen=True)
class PersonBoxes:
    """The boxes of a file.

    Attributes:
        by_image: by the image that they are in: its name or the end of its path, with or without its ending, or its
            number.
        numbers: the images' numbers, `image_id`, where the file is COCO's.
    """

    by_image: Mapping[str, Sequence[PersonBox]]
    numbers: Mapping[str, int] = field(default_factory=dict)

    def of(self, image: Path) -> list[PersonBox]:
        """The boxes in an image; none if the file has none."""
        return [box for name in _names(image) for box in self.by_image.get(name, ())]

    def number(self, image: Path) -> int | None:
        """The number of an image; None if the file has none."""
        return next((self.numbers[name] for name in _names(image) if name in self.numbers), None)


def _names(image: Path) -> list[str]:
    """What a file of boxes may call an image: of a/b.jpg, "b.jpg", "b", "a/b.jpg" and "a/b"."""
    parts = image.absolute().parts
    names = {str(PurePath(*parts[i:])) for i in range(len(parts))}
    names |= {str(PurePath(name).with_suffix("")) for name in names}
    if image.stem.isdecimal():  # COCO's 000000000139.jpg is its image 139.
        names.add(str(int(image.stem)))
    return sorted(names)


def read_boxes(path: Path) -> PersonBoxes:
    """Reads boxes from a file.

    CSV begins with the line "file,x0,y0,x1,y1", with a column "score" if there are scores, in the coordinates of
    `deeppose_jax.boxes`. JSON is COCO's, a data set with `images` and `annotations` or a detector's list of results, of
    which category 1, people, is taken; its boxes (x, y, width, height) start at the corner of the top left pixel.

    Raises:
        UserError: when the file can't be read or holds anything else.
    """
    try:
        text = read_file(path).decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: can't be read ({reason(error)})") from error
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not text; accepted: COCO JSON, or CSV") from None
    try:
        numbers: dict[str, int] = {}
        if text.lstrip()[:1] in ("[", "{"):
            pairs, numbers = _from_json(text)
        else:
            pairs = _from_csv(text)
    except _WRONG as error:
        said = f"no {error}" if isinstance(error, KeyError) else reason(error)
        raise UserError(
            f"{path}: {said}; accepted: COCO JSON, or CSV with the columns {', '.join(_COLUMNS)}"
        ) from error
    by_image: dict[str, list[PersonBox]] = {}
    for image, box in pairs:
        by_image.setdefault(str(PurePath(image)), []).append(box)
    return PersonBoxes(by_image, {str(PurePath(image)): i for image, i in numbers.items()})


def _from_csv(text: str) -> list[tuple[str, PersonBox]]:
    rows = csv.DictReader(io.StringIO(text, newline=None))
    if missing := [name for name in _COLUMNS if name not in (rows.fieldnames or ())]:
        raise ValueError(f"no column {missing[0]}")
    return [
        (row["file"], _person([row[name] for name in _COLUMNS[1:]], row.get("score") or None))
        for row in rows
    ]


def _from_json(text: str) -> tuple[list[tuple[str, PersonBox]], dict[str, int]]:
    """Boxes with their images' names, and the images' numbers by their names."""
    held = json.loads(text)
    names: dict[Any, str] = {}
    if isinstance(held, dict):
        names = {image["id"]: str(image["file_name"]) for image in held["images"]}
        held = held["annotations"]
    found, numbers = [], {}
    for entry in held:
        if entry.get("category_id", 1) != 1:
            continue
        x, y, width, height = entry["bbox"]
        corners = (x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5)
        name = names.get(entry["image_id"], str(entry["image_id"]))
        found.append((name, _person(corners, entry.get("score"))))
        numbers[name] = entry["image_id"]
    return found, numbers


def _person(corners: Sequence[Any], score: Any) -> PersonBox:
    numbers = [float(value) for value in corners]
    known = None if score is None else float(score)
    if not all(math.isfinite(value) for value in (*numbers, known or 0.0)):
        raise ValueError(f"box {numbers} with score {known}")
    x0, y0, x1, y1 = numbers
    return PersonBox((x0, y0, x1, y1), known)
