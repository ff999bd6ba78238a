"""Reads the records of a data set into arrays."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from classify_jax.data.folder import Record, class_names
from classify_jax.data.image_set import ImageSet
from classify_jax.data.pixels import fit
from engine_jax.errors import UserError
from engine_jax.image_files import read_all, read_rgb
from engine_jax.lazy_images import LazyImages


def prepare(
    records: Sequence[Record],
    size: int,
    classes: Sequence[str] | None = None,
    *,
    skip_unreadable: bool = False,
    in_files: bool = False,
) -> ImageSet:
    """Decodes every image, resizes its shorter side and cuts out its middle square.

    Args:
        records: n images.
        size: side s of the square, in pixels.
        classes: the names of the classes; by default those of the records.
        skip_unreadable: leave unreadable images out, with a warning that names them.
        in_files: leave the images in their files, which nothing reads before they are asked for: `LazyImages`.

    Raises:
        UserError: an image that can't be read, or none that can, or `skip_unreadable` with `in_files`.
    """
    if in_files and skip_unreadable:
        raise UserError("skip_unreadable: got True with in_files=True; expected False")
    classes = tuple(classes or class_names(records, "prepare"))
    names, shape = [record.name for record in records], (size, size, 3)
    numbers = {label: number for number, label in enumerate(classes)}
    labels = np.array([numbers[record.label] for record in records], np.int32)

    def read(i: int) -> UInt8[np.ndarray, "s s 3"]:
        return fit(read_rgb(records[i].read, names[i]), size)

    if in_files:
        return ImageSet(LazyImages(read, names, shape), labels, names, classes)
    images = np.empty((len(records), *shape), np.uint8)

    def fill(i: int) -> None:
        images[i] = read(i)

    kept = read_all(fill, names, skip_unreadable=skip_unreadable)
    if len(kept) < len(names):
        images, labels, names = images[kept], labels[kept], [names[i] for i in kept]
    return ImageSet(images, labels, names, classes)
