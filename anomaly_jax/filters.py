"""Separable filters over the height and width of images and maps."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def gaussian(sigma: float, radius: int) -> Float[np.ndarray, " w"]:
    """Weights at -radius .. radius pixels that sum to 1; sigma > 0 in pixels."""
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return weights / weights.sum()


def uniform(window: int) -> Float[np.ndarray, " w"]:
    """The weights of a mean over `window` pixels."""
    return np.full(window, 1 / window)


def separable(
    x: Float[Array, "n h w *c"], weights: Float[np.ndarray, " k"]
) -> Float[Array, "n h-k+1 w-k+1 *c"]:
    """Filters along height and width, at the positions where the window lies inside.

    Each axis is multiplied by a matrix with the weights along its diagonals. Although most entries are 0, this is
    several times faster on CPU than a convolution or a sum of shifted slices, forward and backward.
    """
    down, across = _bands(weights, x.shape[1]), _bands(weights, x.shape[2])
    # The default precision on TPU and GPU would round pixels to about three digits.
    x = jnp.einsum("ij,nj...->ni...", down, x, precision="highest")
    return jnp.einsum("ij,nhj...->nhi...", across, x, precision="highest")


def reflect(
    x: Float[Array, "n h w *c"], radius: int
) -> Float[Array, "n h+2*{radius} w+2*{radius} *c"]:
    """Pads height and width by reflection, with the edge pixel repeated, by `radius` pixels on each side."""
    pad = [(0, 0), (radius, radius), (radius, radius), *[(0, 0)] * (x.ndim - 3)]
    return jnp.pad(x, pad, mode="symmetric")


def _bands(weights: Float[np.ndarray, " k"], size: int) -> Float[np.ndarray, "i size"]:
    """Row i holds the weights from column i on."""
    rows = np.arange(size - len(weights) + 1)[:, None]
    bands = np.zeros((len(rows), size), np.float32)
    bands[rows, rows + np.arange(len(weights))] = weights
    return bands
