"""Reads the records of a category into arrays."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Bool
from PIL import Image

from anomaly_jax.data.image_set import GOOD, ImageSet
from anomaly_jax.data.masks import Masks, PackedMask
from anomaly_jax.data.pixels import decode_mask, fit_mask
from anomaly_jax.data.records import Record
from anomaly_jax.framing import Framing
from engine_jax.errors import UserError
from engine_jax.image_files import read_all, read_bytes, read_rgb

_DARK = 16  # a sixteenth of the range

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


def prepare(
    records: Sequence[Record],
    size: int,
    *,
    letterbox: bool = False,
    white: int = 0,
    skip_unreadable: bool = False,
) -> tuple[ImageSet, list[str], Masks]:
    """Decodes every image and mask, and resizes them to one square; the masks are kept at their own size too.

    Args:
        records: n images.
        size: side s of the square, in pixels.
        letterbox: keep the ratio of the images' sides, see `anomaly_jax.framing`.
        white: the value of white in grey images of more than 8 bits; 0 takes it from the file.
        skip_unreadable: leave unreadable images out, and images whose mask is unreadable, with a
            warning that names them.

    Returns:
        The image set, the names of the images in it, and their masks at the images' own sizes.

    Raises:
        UserError: no records, a size below 1, an unreadable image, no readable image, a mask of
            another size than its image, or a mask of a good image that isn't empty.
    """
    if not records:
        raise UserError("prepare: no images were given")
    if size < 1:
        raise UserError(f"size: got {size}; expected a side of at least 1 pixel")
    n = len(records)
    defect_names = (GOOD, *sorted({record.defect for record in records} - {GOOD}))
    images, masks = np.empty((n, size, size, 3), np.uint8), np.zeros((n, size, size), bool)
    sizes, binary = np.empty((n, 2), np.int32), np.ones(n, bool)
    brightest = np.zeros(n, np.uint8)
    framing = Framing(size, "letterbox" if letterbox else "squeeze")
    own = [PackedMask((0, 0), None)] * n

    def fill(i: int) -> None:
        sample = read_sample(records[i], white)
        brightest[i] = max(high for _, high in sample.image.getextrema())  # pyright: ignore[reportGeneralTypeIssues]
        sizes[i] = sample.image.size[::-1]
        (box,) = framing.boxes(*sizes[i].tolist())
        images[i] = framing.square(sample.image, box)
        own[i] = PackedMask(sample.image.size[::-1], None)
        if sample.mask is not None:
            own[i] = PackedMask.of(sample.mask)
            masks[i], binary[i] = fit_mask(framing.mask_in(sample.mask, box), size), sample.binary

    names = [record.name for record in records]
    kept = read_all(fill, names, skip_unreadable=skip_unreadable)
    if grey := [names[i] for i in kept if not binary[i]]:
        logger.warning(
            "%d of %d images have a mask that is not binary: thresholded at half: %s",
            *(len(grey), n, ", ".join(grey)),
        )
    if kept and (highest := int(brightest[kept].max())) <= _DARK:
        logger.warning(
            "the brightest pixel of %d images is %d of 255: a camera with fewer bits than its files have? "
            "--config.data.white=4095 reads files of 16 bits from a camera of 12",
            *(len(kept), highest),
        )
    labelled = np.array([record.labelled for record in records])
    defects = np.array([defect_names.index(record.defect) for record in records], np.int32)
    read = ImageSet(images, masks, labelled, defects, sizes, defect_names)
    if len(kept) < n:
        read = jax.tree.map(lambda array: array[kept], read)
    return read, [names[i] for i in kept], Masks(own[i] for i in kept)


def read_sample(record: Record, white: int = 0) -> Sample:
    """Reads an image and its mask at their own size, both turned upright by their EXIF orientation.

    Raises:
        UnreadableError: either can't be read.
        UserError: their sizes differ, or the mask of a good image isn't empty.
    """
    title = f"mask of {record.name}"
    image = read_rgb(record.read, record.name, white or None)
    found = record.read_mask and decode_mask(read_bytes(record.read_mask, title), title)
    w, h = image.size
    if found is None:
        return Sample(image, np.zeros((h, w), bool) if record.labelled else None)
    mask, binary = found
    if mask.shape != (h, w):
        turned = "; both are turned as their EXIF orientation says" if mask.shape == (w, h) else ""
        raise UserError(
            f"{title}: {mask.shape[1]}x{mask.shape[0]} pixels; expected {w}x{h}, as the image{turned}"
        )
    if record.defect == GOOD and mask.any():
        raise UserError(f"{title}: marks {mask.sum()} faulty pixels in a good image; expected none")
    return Sample(image, mask, binary)
