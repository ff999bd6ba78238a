"""Decodes masks, and resizes them to the network's input size."""

import io
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool
from PIL import Image

from engine_jax.errors import UserError
from engine_jax.image_files import read_bytes
from engine_jax.images import UnreadableError, grey_values, read_image, upright


def decode_mask(data: bytes, name: str) -> tuple[Bool[np.ndarray, "h w"], bool]:
    """Decodes an encoded mask, turned upright by its EXIF orientation as images are.

    Returns:
        Which pixels are faulty, and whether the mask is binary: it holds one value besides 0, of any
        size. Pixels of other masks are faulty from half the largest possible value on.

    Raises:
        UnreadableError: the bytes are no image of an accepted kind, or it isn't binary and nothing
            in it reaches half.
    """
    values, possible = read_image(data, name, _values)
    found = np.unique(values)
    if len(found[found > 0]) <= 1:
        return values > 0, True
    mask = values > max(possible) / 2
    if not mask.any():
        largest = " or ".join(f"{value:g}" for value in possible)
        raise UnreadableError(
            f"{name}: values {found[0]:g} to {found[-1]:g} of {largest}, none at half or above; "
            "expected a mask with 0 and one other value"
        )
    return mask, False


def encoded_union(masks: Mapping[str, Callable[[], bytes]]) -> bytes:
    """One mask as a PNG file, of several that are read by name: pixels are faulty that are not 0 in any of them.

    Raises:
        UserError: one can't be read, or they differ in size.
    """
    union, first = None, ""
    for name, read in masks.items():
        faulty = read_image(read_bytes(read, name), name, _values)[0] > 0
        if union is None:
            union, first = faulty, name
        elif union.shape != faulty.shape:
            raise UserError(f"{name}: {faulty.shape[::-1]} pixels; {first} has {union.shape[::-1]}")
        else:
            union = union | faulty
    png = io.BytesIO()
    Image.fromarray(np.zeros((0, 0), bool) if union is None else union).save(png, "PNG")
    return png.getvalue()


def fit_mask(mask: Bool[np.ndarray, "h w"], size: int) -> Bool[np.ndarray, "s s"]:
    """Resizes a mask to one square.

    A pixel of the result is faulty if at least half of its area is, so that a fault keeps its area.
    If no pixel reaches half, those with the largest share are faulty, so that no fault is lost.
    """
    covered = Image.fromarray(mask.astype(np.float32)).resize((size, size), Image.Resampling.BOX)
    shares = np.asarray(covered)
    # Pillow sums shares in floating point.
    half = 0.5 - 1e-6
    return shares >= min(half, shares.max()) if mask.any() else np.zeros((size, size), bool)


def _values(image: Image.Image) -> tuple[np.ndarray, tuple[float, ...]]:
    """A mask's values [h, w], and the largest possible one (or two, where it can't be told)."""
    image = upright(image)
    if image.mode == "F" or image.mode.startswith("I"):
        return grey_values(image)
    if image.mode == "P":
        image = image.convert("RGBA")  # A palette may hold transparent colours.
    # In colour masks the brightest channel counts, without the alpha channel.
    return np.asarray(image.convert("RGB")).max(axis=2), (255.0,)
