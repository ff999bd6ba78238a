"""The scores of a test set, with the exact threshold counts of each group of its images.

The groups are all images, and for each defect the good images and those with the defect. Counting sorts every pixel of
a group, so it is done once here; scores, oracle thresholds and curves are computed from the counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from anomaly_jax import curves
from anomaly_jax.curves import ThresholdCounts
from anomaly_jax.data.image_set import GOOD


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
        maps: the pixels' scores.
        masks: the faulty pixels.
        weights: see `curves.region_weights`.
        scores: the images' scores, as maps of one pixel.
        faulty: which images are faulty.
        all: the group of all images.
        defects: by defect, the group of the good images and those with the defect.
    """

    maps: Float[np.ndarray, "n h w"]
    masks: Bool[np.ndarray, "n h w"]
    weights: Float[np.ndarray, "n h w"]
    scores: Float[np.ndarray, "n 1 1"]
    faulty: Bool[np.ndarray, "n 1 1"]
    all: Group
    defects: dict[str, Group]

    @property
    def defects_with_masks(self) -> dict[str, Group]:
        """The groups of the defects for which at least one image has a mask."""
        return {name: group for name, group in self.defects.items() if group.labelled.any()}


def count_groups(
    anomaly_maps: Float[np.ndarray, "n h w"],
    masks: Bool[np.ndarray, "n h w"],
    image_scores: Float[np.ndarray, " n"],
    defects: Sequence[str],
    *,
    has_mask: Bool[np.ndarray, " n"] | None = None,
) -> GroupedScores:
    """Counts each group's pixels and images at every threshold.

    Args:
        anomaly_maps: finite pixel scores, larger where a fault is more likely.
        masks: the faulty pixels.
        image_scores: finite.
        defects: the defect of each image, "good" for none.
        has_mask: which faulty images have a mask; the others count at image level only. By default all have one.

    Raises:
        ValueError: the arrays' shapes or types do not fit, a value is not finite, or a good image has faulty pixels.
    """
    maps, masks = checked_maps(anomaly_maps, masks)
    scores = curves.finite_scores("image_scores", image_scores)
    if scores.ndim != 1:
        raise ValueError(f"image_scores must be [n], not {scores.shape}")
    scores = scores[:, None, None]
    faulty = np.array([defect != GOOD for defect in defects], bool)
    known = np.ones_like(faulty) if has_mask is None else ~faulty | np.asarray(has_mask, bool)
    if not len(maps) == len(scores) == len(faulty) == len(known):
        sizes = f"{len(maps)}, {len(scores)}, {len(faulty)} and {len(known)}"
        raise ValueError(f"maps, image scores, defects and has_mask are of {sizes} images")
    if masks[~faulty].any():
        raise ValueError("masks: an image whose defect is 'good' has faulty pixels")
    weights = curves.region_weights(masks)

    def group(images: Bool[np.ndarray, " n"]) -> Group:
        labelled = images & known
        # Good images alone, without a mask of a faulty one, would measure nothing about the defect.
        if (faulty & images).any() and not (faulty & labelled).any():
            labelled = np.zeros_like(labelled)
        pixel = curves.count_at_thresholds(maps[labelled], masks[labelled], weights[labelled])
        image = curves.count_at_thresholds(scores[images], faulty[images, None, None])
        return Group(images, labelled, pixel, image)

    names = sorted(set(defects) - {GOOD})
    by_defect = {name: group(~faulty | (np.array(defects) == name)) for name in names}
    everything = group(np.ones_like(faulty))
    return GroupedScores(maps, masks, weights, scores, faulty[:, None, None], everything, by_defect)


def checked_maps(
    anomaly_maps: np.ndarray, masks: np.ndarray
) -> tuple[Float[np.ndarray, "n h w"], Bool[np.ndarray, "n h w"]]:
    """The maps in float32 or float64 and the masks.

    Raises:
        ValueError: the shapes are not the same [n, h, w], the masks are not bool, or a score is not finite.
    """
    maps, masks = curves.finite_scores("anomaly_maps", anomaly_maps), np.asarray(masks)
    if maps.ndim != 3:
        raise ValueError(f"anomaly_maps must be [n, h, w], not {maps.shape}")
    if masks.dtype != bool or masks.shape != maps.shape:
        raise ValueError(
            f"masks must be bool and as large as the maps, {maps.shape}, not {masks.dtype} {masks.shape}"
        )
    return maps, masks
