"""Random changes to training images, on the device and inside jit.

Crops, mirror images and colour noise are AlexNet's (Krizhevsky et al. 2012, section 4.1).
"""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from classify_jax.views import as_values, crop
from engine_jax.blur import gaussian_blur
from engine_jax.config import AtLeastZero, Octaves, Range
from engine_jax.lazy_images import LazyImages
from engine_jax.warp import input_maps, warp

_IMAGES = 2000  # to compute principal components from, at most
_AT_ONCE = 64  # of them in memory


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes to training images, besides the place of the crop.

    Attributes:
        mirror: half of the images left to right.
        colour: standard deviation of the factors of the colours' principal components; 0 is no colour noise.
        flip_vertical: mirror half of the images top to bottom.
        rotation: degrees to either side.
        scale: log2 of the zoom to either side; 0.5 is from 0.71 to 1.41.
        blur: largest standard deviation of a Gaussian blur, in pixels.
    """

    mirror: bool
    colour: Annotated[float, AtLeastZero]
    flip_vertical: bool = False
    rotation: Annotated[float, Range(0, 180)] = 0.0
    scale: Annotated[float, Octaves] = 0.0
    blur: Annotated[float, AtLeastZero] = 0.0


def augment(
    key: jax.Array,
    images: UInt8[Array, "b c c 3"],
    size: int,
    components: Float[np.ndarray, "3 3"],
    config: AugmentConfig,
) -> Float[Array, "b s s 3"]:
    """Random crops of `size` pixels in about [0, 1], changed as `config` says.

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
    # Other keys than those above, which a run without these changes draws alike.
    keys = jax.random.split(jax.random.fold_in(key, 1), 4)
    if config.flip_vertical:
        flipped = jax.random.bernoulli(keys[0], 0.5, (n, 1, 1, 1))
        values = jnp.where(flipped, values[:, ::-1], values)
    if config.rotation or config.scale:
        angles = jnp.deg2rad(config.rotation) * jax.random.uniform(keys[1], (n,), minval=-1)
        zooms = jnp.exp2(config.scale * jax.random.uniform(keys[2], (n,), minval=-1))
        maps = input_maps(angles, zooms, jnp.zeros((n, 2)), size)
        values = warp(values, maps, size, diagonal=2 ** (0.5 + config.scale), border="edge")
    if config.blur:
        sigma = config.blur * jax.random.uniform(keys[3], (n,))
        values = gaussian_blur(values, sigma, config.blur)
    if config.colour:
        factors = config.colour * jax.random.normal(colour_key, (n, 3))
        values = values + (factors @ jnp.asarray(components))[:, None, None]
    return values


def principal_components(
    images: UInt8[np.ndarray, "n s s 3"] | LazyImages,
) -> Float[np.ndarray, "3 3"]:
    """Rows lambda_i p_i: the eigenvectors of the covariance of all pixels' RGB in [0, 1], times their eigenvalues.

    Of more than 2,000 images, every n-th is looked at.
    """
    n, height, width, _ = images.shape
    some = np.arange(0, n, -(-n // _IMAGES))
    total, squares = np.zeros(3), np.zeros((3, 3))
    for numbers in np.split(some, range(_AT_ONCE, len(some), _AT_ONCE)):
        for image in images[numbers]:
            pixels = image.reshape(-1, 3) / 255
            total += pixels.sum(0)
            squares += pixels.T @ pixels
    count = len(some) * height * width
    mean = total / count
    values, vectors = np.linalg.eigh(squares / count - np.outer(mean, mean))
    return (values * vectors).T.astype(np.float32)
