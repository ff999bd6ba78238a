"""Images that stay in their files until they are asked for, for data sets that are larger than memory."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from engine_jax.image_files import read_all


class LazyImages:
    """n images [n, h, w, 3], uint8, which are decoded, in threads, whenever they are indexed along the first axis.

    It takes the place of a NumPy array in a tree of samples; what is indexed is a NumPy array.

    Args:
        read: reads and decodes the i-th image.
        names: of the images, for errors.
        shape: (h, w, 3).

    Attributes:
        shape: (n, h, w, 3).
        dtype: uint8.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self,
        read: Callable[[int], UInt8[np.ndarray, "h w 3"]],
        names: Sequence[str],
        shape: tuple[int, int, int],
    ):
        self._read, self._names = read, names
        self._numbers = np.arange(len(names))
        self.shape = (len(names), *shape)

    @property
    def nbytes(self) -> int:
        """What all images would take in memory."""
        n, h, w, channels = self.shape
        return n * h * w * channels

    def __getitem__(self, indices: Any) -> UInt8[np.ndarray, "*chosen h w 3"]:
        """The images that NumPy's indexing along the first axis gives: by a number, a slice, or an array of any shape.

        Raises:
            UserError: naming an image that can't be read.
        """
        chosen = self._numbers[indices]
        numbers = chosen.ravel().tolist()
        images = np.empty((len(numbers), *self.shape[1:]), np.uint8)

        def fill(place: int) -> None:
            images[place] = self._read(numbers[place])

        read_all(fill, [self._names[i] for i in numbers], skip_unreadable=False)
        return images.reshape(*chosen.shape, *self.shape[1:])

    def followed_by(self, other: "LazyImages") -> "LazyImages":
        """These images and then others of the same shape."""
        count = len(self._names)

        def read(i: int) -> UInt8[np.ndarray, "h w 3"]:
            return self._read(i) if i < count else other._read(i - count)

        return LazyImages(read, [*self._names, *other._names], self.shape[1:])
