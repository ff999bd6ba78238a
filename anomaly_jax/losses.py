"""Reconstruction losses: mean squared error and structural similarity."""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import jax.numpy as jnp
from jaxtyping import Array, Float

from anomaly_jax import filters
from engine_jax.config import AtLeastOne, Fraction

Window = Literal["gaussian", "uniform"]

_WINDOW = 11
_SIGMA = 1.5  # of the Gaussian window, in pixels; Wang et al. 2004, section III.C.
_C1, _C2 = 0.01**2, 0.03**2  # (K1 L)^2 and (K2 L)^2 for values in [0, L = 1]


@dataclass(frozen=True)
class LossConfig:
    """How far a reconstruction is from its image, and a segmentation from the painted faults, for training.

    Attributes:
        kind: "l2", the mean squared error; or "ssim", 1 - the structural similarity.
        window: side of SSIM's window in pixels, odd.
        shape: of that window's weights.
        area: part of the image that a painted fault counts as in the segmenter's loss, however large it is; 0 counts
            every pixel the same.
    """

    kind: Literal["l2", "ssim"] = "l2"
    window: Annotated[int, AtLeastOne] = 11
    shape: Window = "gaussian"
    area: Annotated[float, Fraction] = 0.05


def l2(
    images: Float[Array, "b h w c"], reconstructions: Float[Array, "b h w c"]
) -> Float[Array, " b"]:
    """Mean squared error of each image.

    Raises:
        ValueError: the shapes are not the same [b, h, w, c].
    """
    x, y = _checked(images, reconstructions)
    return jnp.square(x - y).mean((1, 2, 3))


def ssim(
    images: Float[Array, "b h w c"],
    reconstructions: Float[Array, "b h w c"],
    *,
    window: int = _WINDOW,
    kind: Window = "gaussian",
) -> Float[Array, " b"]:
    """1 - the mean structural similarity (SSIM) of each image, in [0, 2]; 0 for a perfect reconstruction.

    SSIM = (2 mx my + C1) (2 sxy + C2) / ((mx^2 + my^2 + C1) (sx^2 + sy^2 + C2)), with the weighted means m, variances
    s^2 and covariance sxy in a window; C1 = 0.01^2, C2 = 0.03^2. Wang et al., "Image Quality Assessment: From Error
    Visibility to Structural Similarity", IEEE TIP 2004, equation 13.

    The mean is over the channels and over the windows around all pixels, as in `ssim_map`. Windows inside the image
    alone would give its borders little weight in training, and the borders would stand out in every anomaly map.

    Args:
        images: values in [0, 1].
        reconstructions: likewise, or near it.
        window: side of the windows in pixels, odd.
        kind: the weights: "gaussian" with a standard deviation of 1.5 pixels, as in the paper, or "uniform".

    Raises:
        ValueError: the shapes are not the same [b, h, w, c], the window is even or larger than the image, or the kind
            is not one of these.
    """
    return 1 - ssim_map(images, reconstructions, window=window, kind=kind).mean((1, 2))


def ssim_map(
    images: Float[Array, "b h w c"],
    reconstructions: Float[Array, "b h w c"],
    *,
    window: int = _WINDOW,
    kind: Window = "gaussian",
) -> Float[Array, "b h w"]:
    """Structural similarity in the window around each pixel, in [-1, 1], as the mean over the channels.

    The images are padded by reflection. Arguments and errors as in `ssim`.
    """
    x, y = _checked(images, reconstructions)
    if kind not in get_args(Window):
        raise ValueError(f"kind: {kind!r}; accepted: {', '.join(get_args(Window))}")
    if window < 1 or window % 2 == 0 or window > min(x.shape[1:3]):
        raise ValueError(
            f"window: {window}; accepted: odd and at most the image's side, {min(x.shape[1:3])}"
        )
    radius = window // 2
    similarity = _similarity(filters.reflect(x, radius), filters.reflect(y, radius), window, kind)
    return similarity.mean(-1)


def _checked(
    images: Float[Array, "b h w c"], reconstructions: Float[Array, "b h w c"]
) -> tuple[Float[Array, "b h w c"], Float[Array, "b h w c"]]:
    if images.ndim != 4 or images.shape != reconstructions.shape:
        raise ValueError(
            "images and reconstructions must have the same shape [b, h, w, c], "
            f"not {images.shape} and {reconstructions.shape}"
        )
    return images.astype(jnp.float32), reconstructions.astype(jnp.float32)


def _similarity(
    x: Float[Array, "b h w c"], y: Float[Array, "b h w c"], window: int, kind: Window
) -> Float[Array, "b h-{window}+1 w-{window}+1 c"]:
    """SSIM of all windows inside the images.

    Written with p = x + y and q = x - y, for which mp^2 - mq^2 = 4 mx my, mp^2 + mq^2 = 2 (mx^2 + my^2), and likewise
    the variances: four filters instead of five, and no cancellation where x is almost y.
    """
    weights = (
        filters.gaussian(_SIGMA, window // 2) if kind == "gaussian" else filters.uniform(window)
    )

    def moments(x: Float[Array, "b h w c"]) -> tuple[Array, Array]:
        mean = filters.separable(x, weights)
        return mean, filters.separable(x * x, weights) - mean * mean

    # Centring p in its range [0, 2] leaves the variance unchanged and loses fewer digits.
    mean_p, variance_p = moments(x + y - 1)
    mean_q, variance_q = moments(x - y)
    p, q = jnp.square(mean_p + 1), jnp.square(mean_q)
    luminance = (p - q + 2 * _C1) / (p + q + 2 * _C1)
    structure = (variance_p - variance_q + 2 * _C2) / (variance_p + variance_q + 2 * _C2)
    return luminance * structure
