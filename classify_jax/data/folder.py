"""A folder of images for each class, with or without published parts.

    DIR/<class>/*.png                                            the parts are drawn at random
    DIR/train/<class>/*.png, DIR/val/<class>, DIR/test/<class>   the parts are these

In the second form, val and test may be missing; a missing part is drawn from train. Images are PNG, JPEG, BMP, TIFF or
WebP; other files, hidden ones (._a.jpg) and a Mac's __MACOSX folder are passed over.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from engine_jax.errors import UserError, listed
from engine_jax.image_files import SUFFIXES, images_in, is_hidden
from engine_jax.paths import read_file, user_path

Split = Literal["train", "validation", "test"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")

_FOLDERS: dict[str, Split] = {
    "train": "train",
    "val": "validation",
    "validation": "validation",
    "test": "test",
}
_LAYOUT = "DIR/<class>/*.png or DIR/train/<class>/*.png"


@dataclass(frozen=True, eq=False)
class Record:
    """One image.

    Attributes:
        name: path below the data set's folder: "cat/003.png".
        label: the name of its class.
        split: the published part that it belongs to; None if the data set has no parts.
        read: returns the encoded image's bytes.
    """

    name: str
    label: str
    split: Split | None
    read: Callable[[], bytes]


def open_folder(path: str | Path) -> list[Record]:
    """Opens a data set; images are read later.

    Returns:
        The records, part by part and class by class, in the natural order of their names.

    Raises:
        UserError: no such folder, fewer than two class folders, one without images, or one in validation or test
            that isn't in train.
    """
    path = user_path(path)
    if not path.is_dir():
        raise UserError(f"{path}: no such folder; accepted: {_LAYOUT}")
    if not _folders(path / "train"):
        return _classes(path, path, None)
    records, seen = [], {}
    for folder, split in _FOLDERS.items():
        if not _folders(path / folder):
            continue
        if split in seen:
            raise UserError(f"{path}: holds {seen[split]} and {folder}; accepted: one of the two")
        seen[split] = folder
        records += _classes(path, path / folder, split)
    check_classes(records, str(path))
    return records


def check_classes(records: Sequence[Record], where: str) -> None:
    """Raises a UserError if a class of the validation or test part has no training images."""
    trained = {record.label for record in records if record.split == "train"}
    for record in records:
        if record.label not in trained:
            raise UserError(
                f"{where}: {record.name}: class {record.label!r} has no training images; accepted: "
                f"{listed(sorted(trained))}"
            )


def class_names(records: Sequence[Record], where: str) -> tuple[str, ...]:
    """All classes in the order of their names.

    Raises:
        UserError: there are fewer than two.
    """
    names = tuple(sorted({record.label for record in records}))
    if len(names) < 2:
        raise UserError(f"{where}: {len(names)} class ({listed(names)}); accepted: two or more")
    return names


def _classes(root: Path, above: Path, split: Split | None) -> list[Record]:
    """The records of the class folders in `above`."""
    folders = _folders(above)
    if not folders:
        raise UserError(f"{above}: no class folders here; accepted: {_LAYOUT}")
    records = []
    for folder in folders:
        files = images_in(folder)
        if not files:
            raise UserError(f"{folder}: no images of this class; accepted: {', '.join(SUFFIXES)}")
        records += [
            Record(file.relative_to(root).as_posix(), folder.name, split, partial(read_file, file))
            for file in files
        ]
    class_names(records, str(above))
    return records


def _folders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(p for p in path.iterdir() if p.is_dir() and not is_hidden(p.name))
