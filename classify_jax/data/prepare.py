"""From the records of a data set to arrays."""

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from PIL import Image

from classify_jax.data.folder import Record, class_names, listed
from classify_jax.data.image_set import ImageSet
from classify_jax.data.pixels import decode, fit
from engine_jax.errors import UserError

T = TypeVar("T")
logger = logging.getLogger(__name__)


def prepare(
    records: Sequence[Record],
    size: int,
    classes: Sequence[str] | None = None,
    *,
    skip_unreadable: bool = False,
) -> ImageSet:
    """Decodes every image, resizes its shorter side and cuts out its middle square.

    Args:
        records: n images.
        size: side s of the square, in pixels.
        classes: the names of the classes; by default those of the records.
        skip_unreadable: leave unreadable images out, with a warning that names them.

    Raises:
        UserError: an image that can't be read, or none that can.
    """
    classes = tuple(classes or class_names(records, "prepare"))
    n = len(records)
    images = np.empty((n, size, size, 3), np.uint8)

    def fill(i: int) -> UserError | None:
        try:
            images[i] = fit(read_image(records[i]), size)
        except UserError as error:
            return error
        return None

    errors = run_over(fill, n)
    kept = [i for i, error in enumerate(errors) if error is None]
    bad = [error for error in errors if error is not None]
    if bad and (not skip_unreadable or not kept):
        more = f" (and {len(bad) - 1} more of {n} images)" if len(bad) > 1 else ""
        raise UserError(f"{bad[0]}{more}") from bad[0]
    if bad:
        left_out = [record.name for record, error in zip(records, errors, strict=True) if error]
        logger.warning(
            "%d of %d images can't be read and are left out: %s", len(bad), n, listed(left_out, 20)
        )
    return ImageSet(
        images[kept] if bad else images,
        np.array([classes.index(records[i].label) for i in kept], np.int32),
        [records[i].name for i in kept],
        classes,
    )


def read_image(record: Record) -> Image.Image:
    """Reads an image at its own size.

    Raises:
        UserError: it can't be read.
    """
    try:
        data = record.read()
    except OSError as error:
        raise UserError(f"{record.name}: can't be read ({error})") from error
    return decode(data, record.name)


def run_over(function: Callable[[int], T], count: int) -> list[T]:
    """[function(0), .., function(count - 1)], in threads: Pillow releases the interpreter's lock."""
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 16)) as pool:
        return list(pool.map(function, range(count)))
