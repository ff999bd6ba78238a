"""The layout in which MVTec AD was published, read from a folder or an archive.

    train/good/000.png                      good images
    test/good/000.png                       good images
    test/<defect>/000.png                   faulty images, a folder for each kind of defect
    ground_truth/<defect>/000_mask.png      which pixels of test/<defect>/000.png are faulty

Source: Bergmann, Fauser, Sattlegger and Steger, "MVTec AD: A Comprehensive Real-World Dataset for
Unsupervised Anomaly Detection" (CVPR 2019).
"""

import logging
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

from anomaly_jax.data.image_set import GOOD
from engine_jax.errors import UserError, listed, reason
from engine_jax.file_tree import names_below, open_zip, warn_of_unused
from engine_jax.files import check_regular, read_file, user_path
from engine_jax.image_files import (
    READ_ERRORS,
    SUFFIXES,
    image_paths,
    is_hidden,
    is_image,
    natural_order,
)

Read = Callable[[], bytes]
Files = dict[str, Read]  # by file name, or by path below the root

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


_TRAIN, _PARTS = "train/good", ("train", "test", "ground_truth")
_LAYOUT = "train/good, test/good, test/<defect> and ground_truth/<defect>"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Record:
    """One image and where its mask is.

    Attributes:
        name: path below the category's folder: "test/crack/003.png".
        split: the part of the published data set.
        defect: the kind of defect; "good" for good images.
        read: returns the encoded image's bytes.
        read_mask: returns the encoded mask's bytes; None where there is no such file.
    """

    name: str
    split: Literal["train", "test"]
    defect: str
    read: Read
    read_mask: Read | None = None

    @property
    def labelled(self) -> bool:
        """Whether it is known which pixels are faulty; in a good image, none are."""
        return self.defect == GOOD or self.read_mask is not None


def open_mvtec(path: str | Path) -> list[Record]:
    """Opens one category; images are read later.

    A mask is named as its image, with or without "_mask" at the end. A defect without any mask is
    accepted, with a warning: its images count in image-level metrics only.

    Args:
        path: a category's folder, a zip or tar archive of it (tar.xz, as published), or a folder
            one level above that holds a single category. A tar archive's files are kept in memory,
            since it can only be read from the front.

    Returns:
        The training images, then the test images: good ones first, then defect by defect.

    Raises:
        UserError: no such layout, more than one category, no good training images, no test images,
            a mask without its image, or an image without its mask among others that have one.
    """
    path = user_path(path)
    root, folders, names = _category(path)
    records = [
        Record(f"{_TRAIN}/{name}", "train", GOOD, read) for name, read in folders[_TRAIN].items()
    ]
    defects = _named(folders, "test")
    if not defects:
        raise UserError(f"{path}: no test images; expected test/good and test/<defect>")
    for defect in _named(folders, "ground_truth"):
        if defect not in defects:
            mask = next(iter(folders[f"ground_truth/{defect}"]))
            raise UserError(
                f"{path}: ground_truth/{defect}/{mask}: a mask without its image; "
                f"there are no images in test/{defect}"
            )
    for defect in sorted(defects, key=lambda defect: (defect != GOOD, defect)):
        images = folders[f"test/{defect}"]
        masks = _masks(path, defect, images, folders.get(f"ground_truth/{defect}", {}))
        if not masks and defect != GOOD:
            logger.warning(
                "%s: test/%s has no masks in ground_truth/%s: image-level metrics only",
                *(path, defect, defect),
            )
        records += [
            Record(f"test/{defect}/{name}", "test", defect, images[name], masks.get(name))
            for name in images
        ]
    masks = {
        f"{name}/{mask}"
        for name in folders
        if name.startswith("ground_truth/")
        for mask in folders[name]
    }
    warn_of_unused(
        f"{path}/{root}" if root else path, names, masks | {record.name for record in records}
    )
    return records


def open_good(path: str | Path) -> list[Record]:
    """Opens a folder of good images; images are read later.

    Raises:
        UserError: there is no such folder, or no image in it.
    """
    return [
        Record(str(file), "train", GOOD, partial(read_file, file))
        for file in image_paths([str(path)])
    ]


def _masks(path: Path, defect: str, images: Files, masks: Files) -> Files:
    """The masks of a defect's images, by the image's file name."""
    if not masks:
        return {}
    by_stem: dict[str, str] = {}
    for name in images:
        other = by_stem.setdefault(PurePosixPath(name).stem, name)
        if other != name:
            raise UserError(f"{path}: test/{defect}: {other} and {name} would share a mask")
    found: dict[str, str] = {}
    for mask in masks:
        stem = PurePosixPath(mask).stem
        image = by_stem.get(stem.removesuffix("_mask")) or by_stem.get(stem)
        if image is None:
            raise UserError(
                f"{path}: ground_truth/{defect}/{mask}: a mask without its image; "
                f"expected test/{defect}/{stem.removesuffix('_mask')}.png"
            )
        if image in found:
            both = f"{found[image]} and {mask}"
            raise UserError(f"{path}: ground_truth/{defect}: {both} are both masks of {image}")
        found[image] = mask
    missing = [image for image in images if image not in found]
    if missing:
        raise UserError(
            f"{path}: test/{defect}/{missing[0]}: no mask "
            f"ground_truth/{defect}/{PurePosixPath(missing[0]).stem}_mask.png; expected one for "
            f"each of {len(images)} images or for none, found {len(found)}"
        )
    return {image: masks[mask] for image, mask in found.items()}


def _named(folders: dict[str, Files], part: str) -> list[str]:
    """The folders below train, test or ground_truth that hold images."""
    return [name.partition("/")[2] for name in folders if name.startswith(f"{part}/")]


def _category(path: Path) -> tuple[str, dict[str, Files], list[str]]:
    """The only category at `path`.

    Returns:
        Its place below `path`; its images, by folder ("test/crack") and file name, in natural order; and the names of
        all files that are there.
    """
    if not path.exists():
        raise UserError(f"{path}: not found; expected a folder or archive with {_LAYOUT}")
    files = _folder(path) if path.is_dir() else _archive(path)
    roots: dict[str, dict[str, Files]] = defaultdict(lambda: defaultdict(dict))
    paths = {name: PurePosixPath(name) for name in files}
    visible = [name for name, at in paths.items() if not any(map(is_hidden, at.parts))]
    for name in sorted(files, key=lambda n: (str(paths[n].parent), natural_order(paths[n]))):
        if (root := _root(name)) is not None:
            *_, part, folder, file = name.split("/")
            roots[root][f"{part}/{folder}"][file] = files[name]
    found = sorted(root for root, folders in roots.items() if _TRAIN in folders)
    if not found:
        raise UserError(
            f"{path}: no good training images; looked for {_TRAIN}/*.png "
            f"(or {', '.join(SUFFIXES[1:])}), found {_seen(visible)}"
        )
    if len(found) > 1:
        names = ", ".join(root or "." for root in found)
        raise UserError(f"{path}: holds {len(found)} categories ({names}); expected one")
    root = found[0]
    if path.is_dir():
        names = names_below(path / root, 3)
    else:
        above = f"{root}/" if root else ""
        names = [name.removeprefix(above) for name in visible if name.startswith(above)]
    return root, dict(roots[root]), names


def _root(name: str) -> str | None:
    """The category's folder, if this is the path of an image with a place in the layout."""
    path = PurePosixPath(name)
    *above, part, _, _ = ("", "", "", *path.parts)
    if part not in _PARTS or not is_image(path):
        return None
    return "/".join(filter(None, above))


def _seen(names: Iterable[str]) -> str:
    """What was found instead, at the deepest level of the layout that exists."""
    for above in (f"{_TRAIN}/", "train/", ""):
        below = {
            name.removeprefix(above).partition("/")[0] for name in names if name.startswith(above)
        }
        if below:
            shown = listed(sorted(below), 6)
            return f"in {above}: {shown}" if above else shown
    return "nothing"


def _folder(path: Path) -> Files:
    # No deeper than a category one level below: the user may have named a large folder by mistake.
    below = "" if (path / "train").is_dir() else "*/"
    patterns = ["*", "train/*", *(f"{below}{part}/*/*" for part in _PARTS)]
    found = [file for pattern in patterns for file in path.glob(pattern)]
    return {file.relative_to(path).as_posix(): partial(read_file, file) for file in found}


def _archive(path: Path) -> Files:
    try:
        check_regular(path)
        read_all = _zip if zipfile.is_zipfile(path) else _tar
    except OSError as error:
        raise UserError(f"{path}: neither a folder nor an archive ({reason(error)})") from error
    return read_all(path)


def _zip(path: Path) -> Files:
    archive = open_zip(path)
    names = [name for name in archive.namelist() if not name.endswith("/")]
    return {name: partial(archive.read, name) for name in names}


def _tar(path: Path) -> Files:
    contents: dict[str, bytes] = {}
    categories: set[str] = set()
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file is None:
                    continue
                name = PurePosixPath(member.name).as_posix()  # without a leading ./
                root = _root(name)
                if root is not None and PurePosixPath(name).parent.match(_TRAIN):
                    categories.add(root)
                # Once there are two categories only the names matter, for the message.
                wanted = root is not None and len(categories) < 2
                contents[name] = file.read() if wanted else b""
    except READ_ERRORS as error:
        raise UserError(
            f"{path}: neither a folder nor a readable zip or tar archive ({error})"
        ) from error
    return {name: lambda data=data: data for name, data in contents.items()}
