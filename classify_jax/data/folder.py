"""A folder of images for each class, with or without published parts.

    DIR/<class>/*.png                                            the parts are drawn at random
    DIR/train/<class>/*.png, DIR/val/<class>, DIR/test/<class>   the parts are these

or a zip archive of either, with or without one more folder around. In the second form, val and test may be missing; a
missing part is drawn from train. Images are PNG, JPEG, BMP, TIFF or WebP; a warning says what else there is, hidden
files (._a.jpg) and a Mac's __MACOSX folder excepted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine_jax.errors import UserError, listed
from engine_jax.file_tree import (
    Folder,
    folders_in,
    names_below,
    open_root,
    reader,
    warn_of_unused,
)
from engine_jax.files import user_path
from engine_jax.image_files import SUFFIXES, images_in

Split = Literal["train", "validation", "test"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")

_FOLDERS: dict[str, Split] = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
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
    if not path.exists():
        raise UserError(f"{path}: no such folder or zip archive; accepted: {_LAYOUT}")
    root = _inner(open_root(path))
    if not _folders(root, "train"):
        records = _classes(root, "", None)
    else:
        records, seen = [], {}
        for folder, split in _FOLDERS.items():
            if not _folders(root, folder):
                continue
            if split in seen:
                raise UserError(
                    f"{root}: holds {seen[split]} and {folder}; accepted: one of the two"
                )
            seen[split] = folder
            records += _classes(root, folder, split)
        check_classes(records, str(root))
    warn_of_unused(root, names_below(root, 4), {record.name for record in records})
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


def _inner(root: Folder) -> Folder:
    """`root`, or the only folder in it if that one holds folders too."""
    folders = folders_in(root)
    if len(folders) == 1 and folders[0].name not in _FOLDERS and folders_in(folders[0]):
        return folders[0]
    return root


def _classes(root: Folder, part: str, split: Split | None) -> list[Record]:
    """The records of the class folders in a part's folder, "" for the root itself."""
    folders = _folders(root, part)
    if not folders:
        raise UserError(f"{root}: no class folders here; accepted: {_LAYOUT}")
    records = []
    for folder in folders:
        files = images_in(folder)
        if not files:
            raise UserError(f"{folder}: no images of this class; accepted: {', '.join(SUFFIXES)}")
        above = f"{part}/{folder.name}" if part else folder.name
        records += [
            Record(f"{above}/{file.name}", folder.name, split, reader(file)) for file in files
        ]
    class_names(records, f"{root}/{part}" if part else str(root))
    return records


def _folders(root: Folder, part: str) -> list[Folder]:
    folder = root / part if part else root
    return folders_in(folder) if folder.is_dir() else []
