"""The files of a data set, in a folder or a zip archive, and those of them that nothing reads."""

import logging
import zipfile
from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path, PurePosixPath

from engine_jax.errors import UserError, listed
from engine_jax.files import check_regular, read_file
from engine_jax.image_files import READ_ERRORS, is_hidden

Folder = Path | zipfile.Path

_MOST = 2_000_000  # files of a data set; more are somebody's whole disk
_ABOUT = ("readme", "license", "licence", "copying", "changelog")  # no data

logger = logging.getLogger(__name__)


def open_zip(path: Path) -> zipfile.ZipFile:
    """A zip archive, whose names have slashes where Windows programs wrote backslashes.

    Raises:
        UserError: it can't be read.
    """
    try:
        check_regular(path)
        archive = zipfile.ZipFile(path)
    except READ_ERRORS as error:
        raise UserError(f"{path}: neither a folder nor a readable zip archive ({error})") from error
    for member in archive.filelist:
        member.filename = member.filename.replace("\\", "/")
    archive.NameToInfo = {member.filename: member for member in archive.filelist}
    return archive


def open_root(path: Path) -> Folder:
    """The folder at `path`, or the root of the zip archive there; raises as `open_zip` does."""
    return path if path.is_dir() else zipfile.Path(open_zip(path))


def reader(file: Folder) -> Callable[[], bytes]:
    """What returns the bytes of a file, see `read_file`."""
    return partial(read_file, file) if isinstance(file, Path) else file.read_bytes


def folders_in(folder: Folder) -> list[Folder]:
    """The folders right in a folder, in the order of their names, without hidden ones."""
    found = (entry for entry in folder.iterdir() if not is_hidden(entry.name) and entry.is_dir())
    return sorted(found, key=lambda entry: entry.name)


def names_below(root: Folder, depth: int) -> list[str]:
    """The names of all files in a folder and, `depth` folders deep, below it, relative to it and without hidden ones.

    Raises:
        UserError: there are too many of them for a data set.
    """
    names: list[str] = []
    waiting = [(root, "", depth)]
    while waiting:
        folder, above, left = waiting.pop()
        for entry in folder.iterdir():
            if is_hidden(entry.name):
                continue
            if not entry.is_dir():
                names.append(f"{above}{entry.name}")
            elif left:
                waiting.append((entry, f"{above}{entry.name}/", left - 1))
        if len(names) > _MOST:
            raise UserError(f"{root}: more than {_MOST} files; expected the folder of a data set")
    return names


def warn_of_unused(where: object, names: Collection[str], used: Collection[str]) -> None:
    """Logs a warning with the number of files that a data set's reader doesn't use, and where they are.

    Args:
        where: the data set.
        names: of its files, relative to it.
        used: those that are read.
    """
    unused = [PurePosixPath(name) for name in set(names) - set(used)]
    left = [path for path in unused if path.stem.lower() not in _ABOUT]
    if not left:
        return
    kinds = Counter((str(path.parent), path.suffix) for path in left)
    shown = [
        f"{count} {suffix or 'without a suffix'}{'' if folder == '.' else f' in {folder}'}"
        for (folder, suffix), count in sorted(kinds.items())
    ]
    logger.warning("%s: %d files are not used: %s", where, len(left), listed(shown))
