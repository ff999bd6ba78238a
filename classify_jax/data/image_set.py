"""A data set for image classification in memory: images and labels as arrays, ready for a device."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from engine_jax.order import shuffled


@dataclass(frozen=True, eq=False)
class ImageSet:
    """n square images of s pixels, each of one class.

    Attributes:
        images: RGB; `LazyImages` where they stay in their files.
        labels: indices into `class_names`.
        names: of the images.
        class_names: in the order of the logits.
    """

    images: UInt8[Any, "n s s 3"]
    labels: Int[np.ndarray, " n"]
    names: list[str]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def counts(self) -> Int[np.ndarray, " k"]:
        """How many images each class has."""
        return np.bincount(self.labels, minlength=len(self.class_names))

    def sample(self, count: int, seed: int) -> "ImageSet":
        """Images that a seed draws, `count` at most, in the order of the set."""
        chosen = np.sort(shuffled(len(self), seed)[:count])
        names = [self.names[i] for i in chosen]
        return ImageSet(self.images[chosen], self.labels[chosen], names, self.class_names)
