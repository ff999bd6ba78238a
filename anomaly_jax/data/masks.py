"""Masks at the images' own sizes, in an eighth of their memory."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8


@dataclass(frozen=True)
class PackedMask:
    """A mask of eight pixels a byte; None where no pixel is faulty."""

    shape: tuple[int, ...]
    bits: UInt8[np.ndarray, " b"] | None

    @classmethod
    def of(cls, mask: Bool[np.ndarray, "h w"]) -> "PackedMask":
        return cls(mask.shape, np.packbits(mask) if mask.any() else None)

    def unpacked(self) -> Bool[np.ndarray, "h w"]:
        if self.bits is None:
            return np.zeros(self.shape, bool)
        count = self.shape[0] * self.shape[1]
        return np.unpackbits(self.bits, count=count).view(bool).reshape(self.shape)


class Masks:
    """The faulty pixels of n images, each at the image's own size."""

    def __init__(self, packed: Iterable[PackedMask]):
        self.packed = list(packed)

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, i: int) -> Bool[np.ndarray, "h w"]:
        return self.packed[i].unpacked()
