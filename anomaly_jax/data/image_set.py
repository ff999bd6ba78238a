"""A data set for anomaly detection in memory: images and masks as arrays, ready for a device."""

from dataclasses import dataclass, field
from typing import Any

import jax
from jaxtyping import Bool, Int, UInt8

GOOD = "good"


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ImageSet:
    """n square images of s pixels with their faults; NumPy arrays on the host, jax's on a device.

    Attributes:
        images: RGB, each image resized to one square.
        masks: which pixels are faulty; all False for good images and for unlabelled ones.
        labelled: whether the mask is known, as it is for every good image. Unlabelled faulty images
            count in image-level metrics only.
        defects: index into `defect_names`; 0 is good.
        sizes: (h, w) of each image before it was resized.
        defect_names: "good", then the defects.
    """

    images: UInt8[Any, "n s s 3"]
    masks: Bool[Any, "n s s"]
    labelled: Bool[Any, "n"]
    defects: Int[Any, "n"]
    sizes: Int[Any, "n 2"]
    defect_names: tuple[str, ...] = field(default=(GOOD,), metadata={"static": True})

    def __len__(self) -> int:
        return self.images.shape[0]

    @property
    def faulty(self) -> Bool[Any, "n"]:
        return self.defects != 0
