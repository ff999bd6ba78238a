"""From the records of a category to arrays."""

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Bool
from PIL import Image

from anomaly_jax.data.image_set import GOOD, ImageSet
from anomaly_jax.data.mvtec import Record, read_bytes
from anomaly_jax.data.pixels import decode, decode_mask, fit, fit_mask
from engine_jax.errors import UserError

T = TypeVar("T")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Sample:
    """An image with its mask, both at the image's own size.

    Attributes:
        image: RGB.
        mask: bool [h, w], the faulty pixels; None where the image is unlabelled.
        binary: False where the mask's file holds more than two values.
    """

    image: Image.Image
    mask: Bool[np.ndarray, "h w"] | None
    binary: bool = True


class UnreadableError(UserError):
    """A file that is there, but is no image or no mask."""


def prepare(
    records: Sequence[Record], size: int, *, skip_unreadable: bool = False
) -> tuple[ImageSet, list[str]]:
    """Decodes every image and mask, and resizes them to one square.

    Args:
        records: n images.
        size: side s of the square, in pixels.
        skip_unreadable: leave unreadable images out, and images whose mask is unreadable, with a
            warning that names them.

    Returns:
        The image set, and the names of the images in it.

    Raises:
        UserError: no records, a size below 1, an unreadable image, none readable, a mask of another
            size than its image, or one that marks something in a good image.
    """
    if not records:
        raise UserError("prepare: no images were given")
    if size < 1:
        raise UserError(f"size: got {size}; expected a side of at least 1 pixel")
    n = len(records)
    defect_names = (GOOD, *sorted({record.defect for record in records} - {GOOD}))
    images, masks = np.empty((n, size, size, 3), np.uint8), np.zeros((n, size, size), bool)
    sizes, binary = np.empty((n, 2), np.int32), np.ones(n, bool)

    def fill(i: int) -> UnreadableError | None:
        try:
            sample = read_sample(records[i])
        except UnreadableError as error:
            return error
        images[i], sizes[i] = fit(sample.image, size), sample.image.size[::-1]
        if sample.mask is not None:
            masks[i], binary[i] = fit_mask(sample.mask, size), sample.binary
        return None

    errors = run_over(fill, n)
    bad = [error for error in errors if error is not None]
    kept = [i for i, error in enumerate(errors) if error is None]
    if bad and (not skip_unreadable or not kept):
        more = f" (and {len(bad) - 1} more of {n} images)" if len(bad) > 1 else ""
        raise UserError(f"{bad[0]}{more}") from bad[0]
    _warn("can't be read and are left out", [records[i].name for i in set(range(n)) - set(kept)], n)
    _warn(
        "have a mask that is not binary: thresholded at half",
        [records[i].name for i in kept if not binary[i]],
        n,
    )
    arrays = {
        "images": images,
        "masks": masks,
        "labelled": np.array([record.labelled for record in records]),
        "defects": np.array([defect_names.index(record.defect) for record in records], np.int32),
        "sizes": sizes,
    }
    if bad:
        arrays = {name: array[kept] for name, array in arrays.items()}
    return ImageSet(**arrays, defect_names=defect_names), [records[i].name for i in kept]


def read_sample(record: Record) -> Sample:
    """Reads an image and its mask at their own size.

    Raises:
        UserError: either can't be read, their sizes differ, or the mask of a good image isn't
            empty.
    """
    title = f"mask of {record.name}"
    try:
        image = decode(read_bytes(record.read, record.name), record.name)
        found = record.read_mask and decode_mask(read_bytes(record.read_mask, title), title)
    except UserError as error:
        raise UnreadableError(str(error)) from error
    w, h = image.size
    if found is None:
        return Sample(image, np.zeros((h, w), bool) if record.labelled else None)
    mask, binary = found
    if mask.shape != (h, w):
        raise UserError(
            f"{title}: {mask.shape[1]}x{mask.shape[0]} pixels; expected {w}x{h}, as the image"
        )
    if record.defect == GOOD and mask.any():
        raise UserError(f"{title}: marks {mask.sum()} faulty pixels in a good image; expected none")
    return Sample(image, mask, binary)


def run_over(function: Callable[[int], T], count: int) -> list[T]:
    """[function(0), .., function(count - 1)], in threads: Pillow releases the interpreter's lock."""
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 16)) as pool:
        return list(pool.map(function, range(count)))


def _warn(what: str, names: list[str], n: int) -> None:
    if names:
        logger.warning("%d of %d images %s: %s", len(names), n, what, ", ".join(sorted(names)))
