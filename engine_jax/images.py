"""Images in files and in arrays."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from engine_jax.errors import UserError

T = TypeVar("T")

# How the names of image files end.
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

# What Pillow raises on a damaged file.
_DAMAGE = (
    *(EOFError, IndexError, NotImplementedError, OSError, OverflowError, SyntaxError, TypeError),
    *(ValueError, Image.DecompressionBombError, struct.error, zlib.error),
)


def read_image(data: bytes, name: str, convert: Callable[[Image.Image], T]) -> T:
    """What `convert` makes of an encoded image of any kind; it may raise ValueError for what it doesn't take.

    Raises:
        UserError: the bytes are no readable image; `name` is what the message calls it.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return convert(image)
    except _DAMAGE as error:
        raise UserError(f"{name}: can't be read as an image ({error})") from error


def image_paths(arguments: Sequence[str]) -> list[Path]:
    """Files as given, and the images of folders in the order of their names.

    Raises:
        UserError: for a name that isn't there, or a folder that holds no file with one of `SUFFIXES`.
    """
    paths = []
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise UserError(f"{path}: no images here; accepted: {', '.join(SUFFIXES)}")
            paths += inside
        elif path.is_file():
            paths.append(path)
        else:
            raise UserError(f"{path}: no such file or folder")
    return paths


def decoded(
    paths: Sequence[Path], decode: Callable[[bytes, str], Image.Image], *, skip_unreadable: bool
) -> Iterator[tuple[Path, np.ndarray]]:
    """Each path with its image.

    Args:
        paths: of image files.
        decode: makes an image of a file's bytes and of its name, which an error gives.
        skip_unreadable: print the error and leave the image out.

    Raises:
        UserError: what `decode` raises.
    """
    for path in paths:
        try:
            image = np.asarray(decode(path.read_bytes(), str(path)))
        except UserError as error:
            if not skip_unreadable:
                raise
            print(f"left out: {error}")
            continue
        yield path, image


def check_rgb(images: Sequence[np.ndarray]) -> None:
    """Finds what is no RGB image.

    Raises:
        UserError: naming its index, its type and its shape.
    """
    for i, image in enumerate(images):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise UserError(f"images[{i}]: {image.dtype} {image.shape}; accepted: uint8 [h, w, 3]")
