"""AlexNet's random changes to training images, on the device and inside jit (Krizhevsky et al. 2012, section 4.1)."""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from classify_jax.views import as_values, crop
from engine_jax.config import AtLeastZero

_IMAGES = 2000  # to compute principal components from, at most


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes to training images, besides the place of the crop.

    Attributes:
        mirror: half of the images left to right.
        colour: standard deviation of the factors of the colours' principal components; 0 is no colour noise.
    """

    mirror: bool
    colour: Annotated[float, AtLeastZero]


def augment(
    key: jax.Array,
    images: UInt8[Array, "b c c 3"],
    size: int,
    components: Float[np.ndarray, "3 3"],
    config: AugmentConfig,
) -> Float[Array, "b s s 3"]:
    """Random crops of `size` pixels in about [0, 1], mirrored and with colour noise.

    The noise adds the sum over i of alpha_i lambda_i p_i to all pixels of an image, alpha_i normal with a standard
    deviation of `config.colour`.

    Args:
        components: see `principal_components`.
    """
    n, kept = images.shape[:2]
    place_key, mirror_key, colour_key = jax.random.split(key, 3)
    tops, lefts = jax.random.randint(place_key, (2, n), 0, kept - size + 1)
    mirrored = jax.random.bernoulli(mirror_key, 0.5, (n,)) & config.mirror
    values = as_values(crop(images, tops, lefts, mirrored, size))
    if config.colour:
        factors = config.colour * jax.random.normal(colour_key, (n, 3))
        values = values + (factors @ jnp.asarray(components))[:, None, None]
    return values


def principal_components(images: UInt8[np.ndarray, "n s s 3"]) -> Float[np.ndarray, "3 3"]:
    """Rows lambda_i p_i: the eigenvectors of the covariance of all pixels' RGB in [0, 1], times their eigenvalues.

    Of more than 2,000 images, every n-th is looked at.
    """
    some = images[:: -(-len(images) // _IMAGES)]
    total, squares = np.zeros(3), np.zeros((3, 3))
    for image in some:
        pixels = image.reshape(-1, 3) / 255
        total += pixels.sum(0)
        squares += pixels.T @ pixels
    count = some[..., 0].size
    mean = total / count
    values, vectors = np.linalg.eigh(squares / count - np.outer(mean, mean))
    return (values * vectors).T.astype(np.float32)
