"""The three parts of a data set."""

from collections.abc import Sized
from dataclasses import dataclass
from typing import Generic, TypeVar

Part = TypeVar("Part", bound=Sized)


@dataclass(frozen=True)
class Parts(Generic[Part]):
    """What a run is trained on, what chooses its parameters (or thresholds), and what it is tested on."""

    train: Part
    validation: Part
    test: Part

    def sizes(self) -> dict[str, int]:
        """How many images each part holds."""
        return {name: len(getattr(self, name)) for name in ("train", "validation", "test")}
