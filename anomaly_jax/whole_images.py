"""Maps and scores of whole images, from those of the squares that a network sees."""

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from anomaly_jax.curves import PerImage
from anomaly_jax.data.load import Part
from anomaly_jax.framing import Blend, Box, Framing, framed_map, resize_map
from anomaly_jax.predictor import Detections
from anomaly_jax.scoring import ScoringConfig, map_score

# Applies detectors to squares; the second argument has the number of the image that each shows.
Detect = Callable[[UInt8[np.ndarray, "k s s 3"], Int[np.ndarray, " k"]], Detections]


@dataclass(frozen=True)
class PartDetections:
    """What was found in the n images of a part.

    Attributes:
        found: a map and a score for each image; the maps are at the network's size, of tiled images scaled down to it.
        maps: at the images' own sizes.
    """

    found: Detections
    maps: PerImage


class OwnSizeMaps:
    """The anomaly maps of n images, each resized to the image's own size when it is asked for, as in prediction.

    Args:
        maps: at the network's size, of the one square of each image.
        sizes: (h, w) of each image.
        framing: has made the squares.
    """

    def __init__(
        self, maps: Float[np.ndarray, "n s s"], sizes: Int[np.ndarray, "n 2"], framing: Framing
    ):
        self._maps = maps
        self._sizes = sizes
        self._framing = framing

    def __len__(self) -> int:
        return len(self._maps)

    def __getitem__(self, i: int) -> Float[np.ndarray, "h w"]:
        height, width = self._sizes[i].tolist()
        (box,) = self._framing.boxes(height, width)
        return framed_map(self._maps[i], box, height, width)


class StoredMaps:
    """Maps of any sizes, kept in a temporary folder: those of large images don't fit into memory together."""

    def __init__(self):
        self._folder = Path(tempfile.mkdtemp(prefix="anomaly_maps_"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._files: list[Path] = []

    def append(self, anomaly_map: Float[np.ndarray, "h w"]) -> None:
        self._files.append(self._folder / f"{len(self._files)}.npy")
        np.save(self._files[-1], anomaly_map)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, i: int) -> Float[np.ndarray, "h w"]:
        return np.load(self._files[i])


class Chosen:
    """Maps that are taken from several collections of them.

    Args:
        places: for each, the collection and its number in it.
    """

    def __init__(self, places: Sequence[tuple[PerImage, int]]):
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, i: int) -> Any:
        maps, at = self._places[i]
        return maps[at]


@dataclass(frozen=True)
class Whole:
    """What was found in one image.

    Attributes:
        map: at the image's own size.
        spread: likewise, the standard deviation over the members; None where it isn't known.
        score: of the image.
    """

    map: Float[np.ndarray, "h w"]
    spread: Float[np.ndarray, "h w"] | None
    score: float


def framed_images(
    detect: Callable[[UInt8[np.ndarray, "n s s 3"]], Detections],
    images: Iterable[Image.Image],
    framing: Framing,
    scoring: ScoringConfig,
    own_scores: bool,
) -> list[Whole]:
    """What is found in images that one square shows each; see `detect_part`."""

    def framed(image: Image.Image) -> tuple[tuple[int, int], Box, UInt8[np.ndarray, "s s 3"]]:
        size = image.height, image.width
        (box,) = framing.boxes(*size)
        return size, box, framing.square(image, box)

    sizes, boxes, squares = zip(*map(framed, images), strict=True)  # No image is held longer.
    found = detect(np.stack(squares))
    wholes = []
    for i, (box, size) in enumerate(zip(boxes, sizes, strict=True)):
        own = framed_map(found.maps[i], box, *size)
        spread = None if found.spread is None else framed_map(found.spread[i], box, *size)
        score = float(found.scores[i])
        if not (own_scores or framing.fit == "squeeze"):
            score = _score(own, scoring)
        wholes.append(Whole(own, spread, score))
    return wholes


def tiled_image(
    detect: Callable[[UInt8[np.ndarray, "k s s 3"]], Detections],
    image: Image.Image,
    framing: Framing,
    scoring: ScoringConfig,
    own_scores: bool,
    batch_size: int = 16,
) -> Whole:
    """What is found in an image that is cut into tiles, of which a batch at most is in memory; see `detect_part`."""
    blend, spread, scores = Blend(image.height, image.width), None, []
    boxes = framing.boxes(image.height, image.width)
    for first in range(0, len(boxes), batch_size):
        batch = boxes[first : first + batch_size]
        found = detect(np.stack([framing.square(image, box) for box in batch]))
        scores.append(found.scores)
        for i, box in enumerate(batch):
            blend.add(found.maps[i], box)
        if found.spread is not None:
            spread = spread or Blend(image.height, image.width)
            for i, box in enumerate(batch):
                spread.add(found.spread[i], box)
    own = blend.map()
    score = float(np.concatenate(scores).max()) if own_scores else _score(own, scoring)
    return Whole(own, None if spread is None else spread.map(), score)


def detect_part(
    detect: Detect, part: Part, scoring: ScoringConfig, batch_size: int, own_scores: bool
) -> PartDetections:
    """Maps and scores of the images of a part.

    Args:
        detect: the detectors.
        part: the images.
        scoring: how maps give scores. What lies beside a letterboxed image doesn't count.
        batch_size: tiles a call.
        own_scores: whether the detector's scores aren't its maps'; an image then has the highest of its tiles.
    """
    framing, images = part.framing, part.images
    numbers = np.arange(len(part), dtype=np.int32)
    if framing.fit != "tiles":
        found = detect(images.images, numbers)
        maps = OwnSizeMaps(found.maps, images.sizes, framing)
        if framing.fit == "letterbox" and not own_scores:
            scores = np.array([_score(maps[i], scoring) for i in range(len(part))], np.float32)
            found = replace(found, scores=scores)
        return PartDetections(found, maps)
    maps = StoredMaps()
    size = framing.size
    small = np.empty((len(part), size, size), np.float32)
    scores = np.empty(len(part), np.float32)
    for i in numbers:
        whole = tiled_image(
            lambda squares, i=i: detect(squares, np.full(len(squares), i, np.int32)),
            *(part.reads[i](), framing, scoring, own_scores, batch_size),
        )
        maps.append(whole.map)
        small[i], scores[i] = resize_map(whole.map, (size, size)), whole.score
    return PartDetections(Detections(small, None, scores, None), maps)


def _score(anomaly_map: Float[np.ndarray, "h w"], scoring: ScoringConfig) -> float:
    """A float32 number, as those that devices compute."""
    return float(np.float32(map_score(anomaly_map, scoring.image, part=scoring.top)))


def in_order(found: Sequence[PartDetections], folds: Int[np.ndarray, " n"]) -> PartDetections:
    """What was found in n images fold by fold, in the order of the images.

    Args:
        found: of each fold's images.
        folds: of all images, from 0.
    """
    order = np.argsort(folds, kind="stable")  # The images in the order in which `found` has them.
    places: list[Any] = [None] * len(folds)
    in_folds = [(each.maps, i) for each in found for i in range(len(each.maps))]
    for at, place in zip(order, in_folds, strict=True):
        places[at] = place
    back = np.argsort(order)
    joined = jax.tree.map(lambda *x: np.concatenate(x)[back], *(each.found for each in found))
    return PartDetections(joined, Chosen(places))
