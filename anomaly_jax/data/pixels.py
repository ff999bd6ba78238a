"""From encoded images and masks of any kind to arrays, at their own size or at the network's."""

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from engine_jax.errors import UserError
from engine_jax.images import read_image


def decode(data: bytes, name: str) -> Image.Image:
    """Decodes an encoded image of any kind to RGB, 8 bits a channel.

    Grey becomes three equal channels, 0 .. 65535 becomes 0 .. 255, and an alpha channel is dropped:
    what lies under it was photographed too. An EXIF orientation is not applied, because masks are
    drawn on the stored pixels.

    Raises:
        UserError: the bytes are no readable image; `name` is what the message calls it.
    """
    return read_image(data, name, _rgb)


def fit(image: Image.Image, size: int) -> UInt8[np.ndarray, "s s 3"]:
    """Resizes an RGB image to one square, anti-aliased; its shape is not kept.

    The filter is the triangle, which adds no rings to an edge that an autoencoder would then have
    to reproduce.
    """
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def decode_mask(data: bytes, name: str) -> tuple[Bool[np.ndarray, "h w"], bool]:
    """Decodes an encoded mask.

    Returns:
        Which pixels are faulty, and whether the file is binary: it holds one value besides 0,
        whichever that is. What isn't binary is faulty from half the largest possible value on.

    Raises:
        UserError: the bytes are no readable image, or it isn't binary and nothing in it reaches
            half.
    """
    values, largest = read_image(data, name, _brightness)
    found = np.unique(values)
    if len(found[found > 0]) <= 1:
        return values > 0, True
    mask = values > largest // 2
    if not mask.any():
        raise UserError(
            f"{name}: values {found[0]} to {found[-1]} of {largest}, none at half or above; "
            "expected a mask with 0 and one other value"
        )
    return mask, False


def fit_mask(mask: Bool[np.ndarray, "h w"], size: int) -> Bool[np.ndarray, "s s"]:
    """Resizes a mask to one square.

    A pixel is faulty where at least half of what it covers is, so that a fault keeps its area. A
    mask in which nothing reaches half keeps its most covered pixels: no fault is lost.
    """
    covered = Image.fromarray(mask.astype(np.float32)).resize((size, size), Image.Resampling.BOX)
    shares = np.asarray(covered)
    # Pillow sums shares in floating point.
    half = 0.5 - 1e-6
    return shares >= min(half, shares.max()) if mask.any() else np.zeros((size, size), bool)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        image = Image.fromarray((_grey16(image) / 257).round().astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("floating point pixels; expected 8 or 16 bits a channel")
    elif image.mode == "P":
        image = image.convert("RGBA")  # A palette may hold transparent colours.
    return image.convert("RGB")


def _brightness(image: Image.Image) -> tuple[np.ndarray, int]:
    """A mask's values [h, w], and the largest possible one."""
    if image.mode.startswith("I"):
        return _grey16(image), 65535
    if image.mode == "P":
        image = image.convert("RGBA")
    # Colour masks are judged by their brightest channel, without their alpha.
    return np.asarray(image.convert("RGB")).max(axis=2), 255


def _grey16(image: Image.Image) -> np.ndarray:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"grey values {values.min()} to {values.max()}; expected 0 to 65535")
    return values
