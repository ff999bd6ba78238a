"""From the bytes of an image file to RGB, by the same rules in every task."""

import io
import logging
import struct
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Shaped
from PIL import ExifTags, Image, UnidentifiedImageError

from engine_jax.errors import UserError

T = TypeVar("T")

logger = logging.getLogger(__name__)

# What Pillow may open. Others run programs (EPS starts Ghostscript) or hold more than one picture (PSD).
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")

# What Pillow raises on a damaged file.
_DAMAGE = (
    *(EOFError, IndexError, NotImplementedError, OSError, OverflowError, SyntaxError, TypeError),
    *(ValueError, Image.DecompressionBombError, struct.error, zlib.error),
)
# How an image is turned upright, by its EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ROWS = 256  # of an image that become an array at once

# TIFF's tags for bits a sample, and for what its values mean.
_BITS, _MEANING = 258, 262


class UnreadableError(UserError):
    """A file that is there but can't be read, or not as an image."""


def decode_rgb(data: bytes, name: str, white: float | None = None) -> Image.Image:
    """Decodes a PNG, JPEG, BMP, TIFF or WebP file of any mode to RGB, by the rules of `as_rgb`.

    Args:
        data: the file's bytes.
        name: what an error calls it.
        white: see `as_rgb`.

    Raises:
        UnreadableError: the bytes are no such image, or its values can't be told.
    """
    return read_image(data, name, partial(as_rgb, white=white))


def read_image(data: bytes, name: str, convert: Callable[[Image.Image], T]) -> T:
    """Opens an encoded image and applies `convert`, which may raise ValueError for what it doesn't take.

    Raises:
        UnreadableError: the bytes are no image in one of `FORMATS`, or `convert` refuses it.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if (pages := getattr(image, "n_frames", 1)) > 1:
                logger.warning("%s: holds %d images; the first one is used", name, pages)
            return convert(image)
    except UnidentifiedImageError as error:
        accepted = ", ".join(FORMATS)
        raise UnreadableError(f"{name}: can't be read as an image; accepted: {accepted}") from error
    except _DAMAGE as error:
        raise UnreadableError(f"{name}: can't be read as an image ({error})") from error


def as_rgb(image: Image.Image, white: float | None = None) -> Image.Image:
    """Converts an image of any mode to RGB, 8 bits a channel, as a viewer shows it.

    - It is turned upright by its EXIF orientation.
    - Transparent pixels, of a palette too, are laid over white.
    - Grey becomes three equal channels; palettes, CMYK, YCbCr and LAB are converted.
    - Grey of more than 8 bits is scaled by what `grey_values` takes for white, and rounded. Of colours with 16 bits a
      channel, Pillow reads the upper 8.
    - Of several frames or pages the first is taken.

    Args:
        image: of any mode.
        white: the value of white in grey images of more than 8 bits; larger values are white too. None takes it from
            the file.

    Raises:
        ValueError: the values are out of range, or it can't be told which of them is white.
    """
    image = upright(image)
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image, white)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    rgb = image.convert("RGB")
    rgb.info = {}  # An orientation that has been applied must not be applied again.
    return rgb


def pixels(
    image: Image.Image, box: tuple[int, int, int, int] | None = None
) -> Shaped[np.ndarray, "h w *c"]:
    """The values of an image, or of a (left, top, right, bottom) in it, in an array that can be written to.

    As `numpy.asarray(image.crop(box))`, which holds them three times while it works.
    """
    left, top, right, bottom = box or (0, 0, *image.size)
    like = np.asarray(image.crop((0, 0, 1, 1)))
    values = np.empty((bottom - top, right - left, *like.shape[2:]), like.dtype)
    for start in range(0, len(values), _ROWS):
        rows = values[start : start + _ROWS]
        rows[:] = image.crop((left, top + start, right, top + start + len(rows)))
    return values


def upright(image: Image.Image) -> Image.Image:
    """The image turned by its EXIF orientation; as stored where its EXIF data are damaged, as viewers show it."""
    image.load()  # Pillow turns TIFF files itself when it loads them.
    turn = _turn(image)
    return image if turn is None else image.transpose(turn)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) of `upright(image)`, of a file that needn't be decoded for this."""
    if image.format == "TIFF":
        return upright(image).size
    sideways = (
        *(Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270),
        *(Image.Transpose.TRANSPOSE, Image.Transpose.TRANSVERSE),
    )
    width, height = image.size
    return (height, width) if _turn(image) in sideways else (width, height)


def grey_values(image: Image.Image) -> tuple[np.ndarray, tuple[float, ...]]:
    """The values of a grey image with more than 8 bits, and which of them may be white.

    16 bits (modes I;16 and its like): 65535; in TIFF files of 12 bits 4095. 32-bit integers (mode I): 65535 if a value
    is above 255; else 255 is as likely. Floating point (mode F): 1 if no value is above 1, 255 if one is above 2; else
    both are possible, since filters may overshoot 1 a little.

    Returns:
        values: [h, w].
        whites: the value of white; both candidates where it can't be told.

    Raises:
        ValueError: values that are not finite, negative, or above 65535 (integers) or 255 (floating point).
    """
    values = np.asarray(image)
    tags: Any = getattr(image, "tag_v2", {})
    if tags.get(_MEANING) == 0:
        raise ValueError("more than 8 bits with white at 0; accepted: black at 0")
    if image.mode == "F":
        if not np.isfinite(values).all():
            raise ValueError("values that are not finite; accepted: 0 to 1, or 0 to 255")
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > 255:
            raise ValueError(f"values {low:g} to {high:g}; accepted: 0 to 1, or 0 to 255")
        return values, (1.0,) if high <= 1 else (255.0,) if high > 2 else (1.0, 255.0)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise ValueError(f"grey values {low} to {high}; accepted: 0 to 65535")
    if image.mode == "I" and 0 < high <= 255:
        return values, (255.0, 65535.0)
    return values, (4095.0 if tags.get(_BITS) == (12,) else 65535.0,)


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DAMAGE:
        return None


def _eight_bits(image: Image.Image, given: float | None) -> Image.Image:
    """A grey image of more than 8 bits with 8; pixels of the transparent value are white."""
    values, (white, *others) = grey_values(image)
    if given:
        white = given
    elif others:
        raise ValueError(
            f"values {values.min():g} to {values.max():g} of 32 bits: white may be {white:g} or {others[0]:g}; "
            "accepted: files with 8 or 16 bits a channel"
        )
    grey = np.rint(values * (255.0 / white)).clip(max=255).astype(np.uint8)
    if (transparent := image.info.get("transparency")) is not None:
        grey[values == transparent] = 255
    return Image.fromarray(grey)
