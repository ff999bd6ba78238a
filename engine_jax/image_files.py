"""Image files: which there are, in which order, and how many of them are read at once."""

import logging
import lzma
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath
from typing import TypeVar

from PIL import Image

from engine_jax.errors import UserError
from engine_jax.files import user_path
from engine_jax.images import UnreadableError, decode_rgb, read_image, upright_size

T = TypeVar("T")
F = TypeVar("F", bound=Path | zipfile.Path)

# How the names of image files end.
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

# What reading a file raises, or a damaged or encrypted member of an archive.
READ_ERRORS = (
    *(EOFError, NotImplementedError, OSError, RuntimeError),
    *(lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, zlib.error),
)

# Names of operating systems' own files and folders, in lower case.
_LEFT_BEHIND = frozenset(
    ("__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information")
)

logger = logging.getLogger(__name__)


def is_image(path: PurePath) -> bool:
    """Whether a path below a data set's folder is named as an image and neither it nor a folder above is hidden."""
    return path.suffix.lower() in SUFFIXES and not any(map(is_hidden, path.parts))


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden (.DS_Store, ._a.jpg) or what macOS or Windows leaves behind."""
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def natural_order(path: PurePath) -> tuple:
    """A key for sorting files of one folder: numbers in their names count as numbers, so that im2 precedes im10."""
    parts = re.split(r"(\d+)", path.stem)
    numbers = [int(part) if i % 2 else part for i, part in enumerate(parts)]
    return numbers, path.name


def images_in(folder: F) -> list[F]:
    """The images right in a folder, in the natural order of their names."""
    named = [(PurePath(file.name), file) for file in folder.iterdir()]
    images = [(natural_order(name), file) for name, file in named if is_image(name)]
    return [file for _, file in sorted(images, key=lambda pair: pair[0])]  # pyright: ignore[reportReturnType]


def images_below(folder: Path) -> list[Path]:
    """The images in a folder and in the folders in it, a folder's own first, each in the natural order of names."""
    found, below = images_in(folder), [path for path in folder.iterdir() if path.is_dir()]
    for path in sorted(below, key=natural_order):
        if not (is_hidden(path.name) or path.is_symlink()):  # A link may lead back.
            found += images_below(path)
    return found


def image_paths(arguments: Sequence[str], recursive: bool = False) -> list[Path]:
    """Files as given, and the images of folders in the natural order of their names.

    Args:
        arguments: files and folders.
        recursive: take the images of the folders in a folder too.

    Raises:
        UserError: for a name that isn't there, or a folder that holds no file with one of `SUFFIXES`.
    """
    paths = []
    for argument in arguments:
        path = user_path(argument)
        if not os.path.lexists(path):
            raise UserError(f"{path}: no such file or folder")
        if path.is_dir():
            inside = images_below(path) if recursive else images_in(path)
            if not inside:
                deeper = "" if recursive else "; --recursive looks into the folders in it"
                raise UserError(f"{path}: no images here; accepted: {', '.join(SUFFIXES)}{deeper}")
            paths += inside
        else:
            paths.append(path)
    return paths


def read_bytes(read: Callable[[], bytes], name: str) -> bytes:
    """The bytes of a file or of an archive's member, which an error calls `name`.

    Raises:
        UnreadableError: they can't be read.
    """
    try:
        return read()
    except READ_ERRORS as error:
        raise UnreadableError(f"{name}: can't be read ({error})") from error


def read_rgb(read: Callable[[], bytes], name: str, white: float | None = None) -> Image.Image:
    """Reads an image at its own size, by the rules of `engine_jax.images.as_rgb`, which explains `white`.

    Raises:
        UnreadableError: it can't be read, or not as an image.
    """
    return decode_rgb(read_bytes(read, name), name, white)


def read_size(read: Callable[[], bytes], name: str) -> tuple[int, int]:
    """(width, height) of the image that `read_rgb` gives, mostly without decoding its pixels; raises as it does."""
    return read_image(read_bytes(read, name), name, upright_size)


def read_each(read: Callable[[int], T], count: int) -> list[T | UserError]:
    """[read(0), .., read(count - 1)], with the UserError in the place of what raises one.

    They run in threads: Pillow releases the interpreter's lock.
    """

    def result(i: int) -> T | UserError:
        try:
            return read(i)
        except UserError as error:
            return error

    with ThreadPoolExecutor(min(os.cpu_count() or 1, 16)) as pool:
        return list(pool.map(result, range(count)))


def read_all(
    read: Callable[[int], None], names: Sequence[str], *, skip_unreadable: bool
) -> list[int]:
    """Reads every image of a data set, in threads.

    Args:
        read: reads the i-th image and keeps it.
        names: of the images, for the warning.
        skip_unreadable: leave unreadable images out, with a warning that names them.

    Returns:
        The indices of the images that could be read.

    Raises:
        UserError: what `read` raises, if it is no UnreadableError, or none may be or none would not be left out. The
            message is the first image's and says how many more there are.
    """
    found = read_each(read, len(names))
    errors = {i: error for i, error in enumerate(found) if isinstance(error, UserError)}
    worst = [error for error in errors.values() if not isinstance(error, UnreadableError)]
    if errors and (worst or not skip_unreadable or len(errors) == len(names)):
        first = (worst or list(errors.values()))[0]
        more = f" (and {len(errors) - 1} more of {len(names)} images)" if len(errors) > 1 else ""
        raise UserError(f"{first}{more}") from first
    if errors:
        left_out = ", ".join(names[i] for i in errors)
        logger.warning(
            "%d of %d images can't be read and are left out: %s", len(errors), len(names), left_out
        )
    return [i for i in range(len(names)) if i not in errors]
