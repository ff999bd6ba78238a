"""From images and reconstructions to anomaly maps, image scores and decisions."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from anomaly_jax import filters, losses
from anomaly_jax.regions import Region, regions
from anomaly_jax.thresholds import Thresholds
from engine_jax.config import AtLeastOne, AtLeastZero, Range

Residual = Literal["absolute", "squared", "ssim"]
ImageScore = Literal["max", "mean", "top"]

_REACH = 4  # standard deviations at which the Gaussian is cut off


@dataclass(frozen=True)
class ScoringConfig:
    """From a network's output to an anomaly map and an image's score.

    Attributes:
        residual: see `residual_map`; of "reconstruction" only.
        window: side of its SSIM window in pixels, odd.
        sigma: standard deviation of the Gaussian that smooths the map, in the network's input pixels; 0 is none.
        image: the image's score: the "max" of its map, the "mean", or the mean of its "top" pixels.
        top: share of the map's pixels that are its top.
    """

    residual: Residual = "absolute"
    window: Annotated[int, AtLeastOne] = 11
    sigma: Annotated[float, AtLeastZero] = 0.0
    image: ImageScore = "top"
    top: Annotated[float, Range(0, 1, open_low=True)] = 0.01


def residual_map(
    images: Float[Array, "b h w c"],
    reconstructions: Float[Array, "b h w c"],
    kind: Residual,
    *,
    window: int = 11,
) -> Float[Array, "b h w"]:
    """How much each pixel differs from its reconstruction, in [0, 1], as the mean over the channels.

    Args:
        images: values in [0, 1].
        reconstructions: clipped to [0, 1], the range of the images.
        kind: "absolute" |x - y|, "squared" (x - y)^2, or "ssim" (1 - SSIM) / 2.
        window: side of SSIM's Gaussian window in pixels.

    Raises:
        ValueError: the shapes are not the same [b, h, w, c], or the kind is not one of these.
    """
    if images.ndim != 4 or images.shape != reconstructions.shape:
        raise ValueError(
            "images and reconstructions must have the same shape [b, h, w, c], "
            f"not {images.shape} and {reconstructions.shape}"
        )
    reconstructions = jnp.clip(reconstructions, 0, 1)
    if kind == "absolute":
        return jnp.abs(images - reconstructions).mean(-1)
    if kind == "squared":
        return jnp.square(images - reconstructions).mean(-1)
    if kind == "ssim":
        similarity = losses.ssim_map(images, reconstructions, window=window)
        return jnp.clip((1 - similarity) / 2, 0, 1)  # Rounding may leave the range.
    raise ValueError(f"kind: {kind!r}; accepted: {', '.join(get_args(Residual))}")


def reach(sigma: float) -> int:
    """Pixels over which the Gaussian of `smooth` reaches to either side; a map must be at least as large."""
    return int(_REACH * sigma + 0.5)


def smooth(maps: Float[Array, "n h w"], sigma: float) -> Float[Array, "n h w"]:
    """Gaussian smoothing with a standard deviation of `sigma` pixels and reflected edges; 0 leaves the maps unchanged.

    Raises:
        ValueError: sigma is negative or not finite, or its Gaussian is wider than the map.
    """
    if not 0 <= sigma < np.inf:
        raise ValueError(f"sigma: {sigma}; accepted: 0 or more pixels")
    radius = reach(sigma)
    if radius > min(maps.shape[1:]):
        raise ValueError(
            f"sigma: {sigma} reaches over {radius} px; the maps are of {maps.shape[1:]} px"
        )
    if radius == 0:
        return maps
    return filters.separable(filters.reflect(maps, radius), filters.gaussian(sigma, radius))


@partial(jax.jit, static_argnames=("residual", "window", "sigma"))
def anomaly_maps(
    images: Float[Array, "b h w c"],
    reconstructions: Float[Array, "b h w c"],
    *,
    residual: Residual,
    window: int = 11,
    sigma: float = 0.0,
) -> Float[Array, "b h w"]:
    """Smoothed residual maps as one compiled function: see `residual_map` and `smooth`."""
    return smooth(residual_map(images, reconstructions, residual, window=window), sigma)


def image_score(
    maps: Float[Array, "n h w"], kind: ImageScore, *, part: float = 0.01
) -> Float[Array, " n"]:
    """A score for each image: the "max" of its anomaly map, the "mean", or the mean of its "top" pixels.

    Args:
        maps: anomaly maps, smoothed or not.
        kind: "max", "mean" or "top".
        part: share of the map's pixels that count as its top, in (0, 1]; at least one pixel.

    Raises:
        ValueError: the kind is not one of these, or the share is out of its range.
    """
    if kind == "max":
        return maps.max((1, 2))
    if kind == "mean":
        return maps.mean((1, 2))
    if kind != "top":
        raise ValueError(f"kind: {kind!r}; accepted: {', '.join(get_args(ImageScore))}")
    if not 0 < part <= 1:
        raise ValueError(f"part: {part}; accepted: above 0 and at most 1")
    n, h, w = maps.shape
    return jax.lax.top_k(maps.reshape(n, h * w), max(1, round(part * h * w)))[0].mean(-1)


def map_score(
    anomaly_map: Float[np.ndarray, "h w"], kind: ImageScore, *, part: float = 0.01
) -> float:
    """`image_score` of one map of any size, on the host."""
    if kind == "max":
        return float(anomaly_map.max())
    if kind == "mean":
        return float(anomaly_map.mean(dtype=np.float64))
    flat = anomaly_map.ravel()
    count = max(1, round(part * flat.size))
    return float(np.partition(flat, flat.size - count)[-count:].mean(dtype=np.float64))


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image.

    Attributes:
        anomaly_map: the pixels' anomaly scores; higher is more anomalous.
        pred_score: the image's anomaly score.
        pred_label: whether the image is predicted faulty; None without a threshold for images.
        pred_mask: which pixels are predicted faulty; None without a threshold for pixels.
        spread: standard deviation of the anomaly map over the ensemble's members; None if it is not known.
    """

    anomaly_map: Float[np.ndarray, "h w"]
    pred_score: float
    pred_label: bool | None
    pred_mask: Bool[np.ndarray, "h w"] | None
    spread: Float[np.ndarray, "h w"] | None = None

    @property
    def regions(self) -> list[Region]:
        """The regions of the faulty pixels, the largest first; none without a threshold for pixels."""
        return [] if self.pred_mask is None else regions(self.pred_mask, self.anomaly_map)


def decide(
    anomaly_map: Float[np.ndarray, "h w"],
    pred_score: float,
    thresholds: Thresholds,
    spread: Float[np.ndarray, "h w"] | None = None,
) -> Prediction:
    """Applies thresholds to one image's float32 map and score: at least the threshold is faulty."""
    anomaly_map, pred_score = np.asarray(anomaly_map, np.float32), float(pred_score)
    pixel, image = thresholds.pixel, thresholds.image
    # In float32, as in the metrics: a score of 0.7 is at least a threshold of 0.7.
    label = None if image is None else bool(np.float32(pred_score) >= np.float32(image))
    mask = None if pixel is None else anomaly_map >= np.float32(pixel)
    return Prediction(anomaly_map, pred_score, label, mask, spread)
