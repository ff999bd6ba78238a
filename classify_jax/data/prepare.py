"""Reads the records of a data set into arrays."""

from collections.abc import Sequence

import numpy as np

from classify_jax.data.folder import Record, class_names
from classify_jax.data.image_set import ImageSet
from classify_jax.data.pixels import fit
from engine_jax.image_files import read_all, read_rgb


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
    names = [record.name for record in records]
    images = np.empty((len(records), size, size, 3), np.uint8)

    def fill(i: int) -> None:
        images[i] = fit(read_rgb(records[i].read, names[i]), size)

    kept = read_all(fill, names, skip_unreadable=skip_unreadable)
    return ImageSet(
        images if len(kept) == len(names) else images[kept],
        np.array([classes.index(records[i].label) for i in kept], np.int32),
        [names[i] for i in kept],
        classes,
    )
