"""Encoded images."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import TypeVar

from PIL import Image

from engine_jax.errors import UserError

T = TypeVar("T")

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
