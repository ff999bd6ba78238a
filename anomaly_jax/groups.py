"""The scores of a test set, with the threshold counts of each of its images and of groups of them.

The groups are all images, and for each defect the good images and those with the defect. Maps and masks are taken one
image after the other, each at its own size, so that memory doesn't grow with their pixels; scores, intervals, oracle
thresholds and curves are computed from the counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from anomaly_jax import curves
from anomaly_jax.curves import PerImage, ThresholdCounts
from anomaly_jax.data.image_set import GOOD
from anomaly_jax.levels import Levels


@dataclass(frozen=True)
class Group:
    """Some images of a test set of n images.

    Attributes:
        images: which images belong to the group.
        labelled: which of these count at pixel level: those with known masks, or none if no faulty one has a mask.
        pixel: counts over the pixels of the labelled images, with region weights.
        image: counts over the scores of the images.
    """

    images: Bool[np.ndarray, " n"]
    labelled: Bool[np.ndarray, " n"]
    pixel: ThresholdCounts
    image: ThresholdCounts


@dataclass(frozen=True)
class GroupedScores:
    """The scores of n test images and their groups.

    Attributes:
        pixel: counts over the pixels of each image, [n, t], with region weights; 0 of images whose mask isn't known.
        scores: the images' scores, as maps of one pixel.
        faulty: which images are faulty.
        all: the group of all images.
        defects: by defect, the group of the good images and those with the defect.
    """

    pixel: ThresholdCounts
    scores: Float[np.ndarray, "n 1 1"]
    faulty: Bool[np.ndarray, "n 1 1"]
    all: Group
    defects: dict[str, Group]

    @property
    def defects_with_masks(self) -> dict[str, Group]:
        """The groups of the defects for which at least one image has a mask."""
        return {name: group for name, group in self.defects.items() if group.labelled.any()}


def count_groups(
    anomaly_maps: PerImage,
    masks: PerImage,
    image_scores: Float[np.ndarray, " n"],
    defects: Sequence[str],
    *,
    thresholds: Sequence[float] = (),
    has_mask: Bool[np.ndarray, " n"] | None = None,
) -> GroupedScores:
    """Counts each image's pixels, and each group's pixels and images, at many thresholds; see `Levels`.

    Args:
        anomaly_maps: n maps [h, w] of finite pixel scores, larger where a fault is more likely; each is read twice.
        masks: bool [h, w], the faulty pixels of each image, as large as its map.
        image_scores: finite.
        defects: the defect of each image, "good" for none.
        thresholds: of pixels, at which counts are needed.
        has_mask: which faulty images have a mask; the others count at image level only. By default all have one.

    Raises:
        ValueError: the arrays' numbers, shapes or types do not fit, a value is not finite, or a good image has faulty
            pixels.
    """
    scores = curves.finite_scores("image_scores", image_scores)
    if scores.ndim != 1:
        raise ValueError(f"image_scores must be [n], not {scores.shape}")
    scores = scores[:, None, None]
    faulty = np.array([defect != GOOD for defect in defects], bool)
    known = np.ones_like(faulty) if has_mask is None else ~faulty | np.asarray(has_mask, bool)
    if not len(anomaly_maps) == len(masks) == len(scores) == len(faulty) == len(known):
        lengths = [len(each) for each in (anomaly_maps, masks, scores, faulty)]
        raise ValueError(
            "maps, masks, image scores, defects and has_mask are of {}, {}, {}, {} and {} images".format(
                *lengths, len(known)
            )
        )
    pixel = _count_images(anomaly_maps, masks, defects, known, thresholds)

    def group(images: Bool[np.ndarray, " n"]) -> Group:
        labelled = images & known
        # Good images alone, without a mask of a faulty one, would measure nothing about the defect.
        if (faulty & images).any() and not (faulty & labelled).any():
            labelled = np.zeros_like(labelled)
        image = curves.count_at_thresholds(scores[images], faulty[images, None, None])
        return Group(images, labelled, curves.pooled(pixel, labelled.astype(np.float64)), image)

    names = sorted(set(defects) - {GOOD})
    by_defect = {name: group(~faulty | (np.array(defects) == name)) for name in names}
    return GroupedScores(
        pixel, scores, faulty[:, None, None], group(np.ones_like(faulty)), by_defect
    )


def _count_images(
    anomaly_maps: PerImage,
    masks: PerImage,
    defects: Sequence[str],
    known: Bool[np.ndarray, " n"],
    thresholds: Sequence[float],
) -> ThresholdCounts:
    """The counts [n, t] of every image, whose levels are chosen in a first pass over the maps."""
    dtype, levels = np.dtype(np.float32), Levels()
    for i, defect in enumerate(defects):
        scores, mask = checked_map(anomaly_maps[i], masks[i])
        dtype = scores.dtype
        if defect == GOOD and mask.any():
            raise ValueError("masks: an image whose defect is 'good' has faulty pixels")
        if known[i]:
            levels.add(scores, mask, defect)
    chosen = np.append(levels.thresholds(np.asarray(thresholds, dtype)), dtype.type(-np.inf))
    shape = (len(defects), len(chosen))
    good, faulty, regions = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape)
    for i in np.flatnonzero(known).tolist():
        counts = curves.count_image(*checked_map(anomaly_maps[i], masks[i]), chosen)
        good[i], faulty[i], regions[i] = counts.good, counts.faulty, counts.regions
    return ThresholdCounts(chosen, good, faulty, regions)


def checked_map(
    anomaly_map: np.ndarray, mask: np.ndarray
) -> tuple[Float[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """A map in float32 or float64 and its mask.

    Raises:
        ValueError: the shapes are not the same [h, w], the mask is not bool, or a score is not finite.
    """
    scores, mask = curves.finite_scores("anomaly_maps", anomaly_map), np.asarray(mask)
    if scores.ndim != 2:
        raise ValueError(f"anomaly_maps must be [h, w] each, not {scores.shape}")
    if mask.dtype != bool or mask.shape != scores.shape:
        raise ValueError(
            f"masks must be bool and as large as the maps, {scores.shape}, not {mask.dtype} {mask.shape}"
        )
    return scores, mask
