"""One image of a data set for anomaly detection, and where its mask is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from anomaly_jax.data.image_set import GOOD

Read = Callable[[], bytes]
Files = dict[str, Read]  # by file name, or by path below the root

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, eq=False)
class Record:
    """One image and where its mask is.

    Attributes:
        name: path below the category's folder: "test/crack/003.png".
        split: the part of the published data set.
        defect: the kind of defect; "good" for good images.
        read: returns the encoded image's bytes.
        read_mask: returns the encoded mask's bytes; None where there is no such file.
    """

    name: str
    split: Split
    defect: str
    read: Read
    read_mask: Read | None = None

    @property
    def labelled(self) -> bool:
        """Whether it is known which pixels are faulty; in a good image, none are."""
        return self.defect == GOOD or self.read_mask is not None
