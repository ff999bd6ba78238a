"""The layouts in which categories of images are read, from a folder or an archive, recognised by their folders' names.

- MVTec AD's and MVTec LOCO AD's, see `anomaly_jax.data.mvtec`.
- VisA's, see `anomaly_jax.data.visa`.
- Images that lie right in the folder, all of them good.
"""

import logging
import tarfile
import zipfile
from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from anomaly_jax.data import mvtec, visa
from anomaly_jax.data.image_set import GOOD
from anomaly_jax.data.records import Files, Record
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


class _Layout(NamedTuple):
    """A layout with folders.

    Attributes:
        root: the category's folder, where a file's path has a place in the layout; else None.
        good: the folder of good training images, below the category's.
        beside: a file about all categories, in the folder of these; "" is none.
        aids: how the paths of files that belong to images begin.
        records: makes records of the category's files, given what an error calls it.
        depth: folders between a category's and its deepest files.
    """

    root: Callable[[str], str | None]
    good: str
    beside: str
    aids: tuple[str, ...]
    records: Callable[[str, Files], list[Record]]
    depth: int


_LAYOUTS = (
    _Layout(mvtec.root, mvtec.TRAIN, "", mvtec.AIDS, mvtec.records, 3),
    _Layout(visa.root, visa.NORMAL, visa.SPLIT, visa.AIDS, visa.records, 3),
)

logger = logging.getLogger(__name__)


def open_category(path: str | Path) -> list[Record]:
    """Opens one category; images are read later. What lies there and isn't used is named in a warning.

    Args:
        path: a category's folder, a zip or tar archive of it (tar.xz, as MVTec AD was published), or a folder one level
            above that holds a single category. A tar archive's files are kept in memory, since it can only be read from
            the front.

    Returns:
        The training images, the validation images where the layout has some, and the test images: good ones first, then
        defect by defect. Without test images there is a warning.

    Raises:
        UserError: no known layout, more than one category, no good training images, a mask without its image, or an
            image without its mask among others that have one.
    """
    path = user_path(path)
    if not path.exists():
        raise UserError(f"{path}: not found; expected a folder or archive with {mvtec.LAYOUT}")
    files = _folder(path) if path.is_dir() else _archive(path)
    paths = {name: PurePosixPath(name) for name in files}
    ordered = sorted(files, key=lambda name: (str(paths[name].parent), natural_order(paths[name])))
    for layout in _LAYOUTS:
        roots = {name: root for name in ordered if (root := layout.root(name)) is not None}
        found = sorted({root for name, root in roots.items() if f"/{layout.good}/" in f"/{name}"})
        if len(found) > 1:
            names = ", ".join(root or "." for root in found)
            raise UserError(f"{path}: holds {len(found)} categories ({names}); expected one")
        if found:
            root = found[0]
            above = f"{root}/" if root else ""
            inside = {n.removeprefix(above): files[n] for n in ordered if roots.get(n) == root}
            beside = str(PurePosixPath(root).parent / layout.beside)
            if layout.beside and beside in files:
                inside[layout.beside] = files[beside]
            where = f"{path}/{root}" if root else str(path)
            records = layout.records(where, inside)
            names = _names(path, root, files, layout.depth)
            used = {record.name for record in records}
            _warn(where, records, names, used | {n for n in inside if n.startswith(layout.aids)})
            return records
    flat = {name: files[name] for name in ordered if "/" not in name and is_image(paths[name])}
    if not flat:
        visible = [name for name, at in paths.items() if not any(map(is_hidden, at.parts))]
        raise UserError(
            f"{path}: no good training images; looked for {mvtec.TRAIN}/*.png "
            f"(or {', '.join(SUFFIXES[1:])}), for {visa.NORMAL} and for images right here, "
            f"found {_seen(visible)}"
        )
    records = [Record(name, "train", GOOD, read) for name, read in flat.items()]
    _warn(str(path), records, _names(path, "", files, 1), flat)
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


def _warn(where: str, records: list[Record], names: list[str], used: Collection[str]) -> None:
    """Warns of what isn't used, and of what can't be tested."""
    if not any(record.split == "test" for record in records):
        logger.warning(
            "%s: %d good images and none to test on: a detector is trained and its thresholds promise a rate of false "
            "alarms, but whether it finds faults stays unknown",
            *(where, len(records)),
        )
    warn_of_unused(where, names, used)


def _names(path: Path, root: str, files: Files, depth: int) -> list[str]:
    """The names of all files of a category, without hidden ones."""
    if path.is_dir():
        return names_below(path / root, depth)
    above = f"{root}/" if root else ""
    visible = [name for name in files if not any(map(is_hidden, PurePosixPath(name).parts))]
    return [name.removeprefix(above) for name in visible if name.startswith(above)]


def _seen(names: Iterable[str]) -> str:
    """What was found instead, at the deepest level of MVTec AD's layout that exists."""
    for above in (f"{mvtec.TRAIN}/", "train/", ""):
        below = {
            name.removeprefix(above).partition("/")[0] for name in names if name.startswith(above)
        }
        if below:
            shown = listed(sorted(below), 6)
            return f"in {above}: {shown}" if above else shown
    return "nothing"


def _folder(path: Path) -> Files:
    # No deeper than a category one level below: the user may have named a large folder by mistake.
    below = "" if any((path / part).is_dir() for part in ("train", "Data")) else "*/"
    inside = [f"{below}{pattern}" for pattern in (*mvtec.PATTERNS, *visa.PATTERNS)]
    found = [
        file for pattern in ("*", "train/*", visa.SPLIT, *inside) for file in path.glob(pattern)
    ]
    files = {file.relative_to(path).as_posix(): partial(read_file, file) for file in found}
    beside = path.parent / visa.SPLIT  # VisA's splits of all categories stand beside these.
    if (path / visa.NORMAL).is_dir() and beside.is_file():
        files[visa.SPLIT] = partial(read_file, beside)
    return files


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
                roots = {layout.good: layout.root(name) for layout in _LAYOUTS}
                placed = any(root is not None for root in roots.values())
                for good, root in roots.items():
                    if root is not None and f"/{good}/" in f"/{name}":
                        categories.add(root)
                # Once there are two categories only the names matter, for the message.
                wanted = (placed or name.endswith(visa.SPLIT) or "/" not in name) and len(
                    categories
                ) < 2
                contents[name] = file.read() if wanted else b""
    except READ_ERRORS as error:
        raise UserError(
            f"{path}: neither a folder nor a readable zip or tar archive ({error})"
        ) from error
    return {name: lambda data=data: data for name, data in contents.items()}
