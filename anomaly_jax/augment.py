"""Random changes to training images, on the device and inside jit."""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from engine_jax.config import Fraction, Octaves, Range
from engine_jax.warp import input_maps, warp


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes to training images; 0 or False switches each off.

    Only changes that good parts may show as well belong here: the network learns to reconstruct them, and so doesn't
    find them as faults.

    Attributes:
        rotation: degrees to either side.
        scale: log2 of the zoom to either side; 0.5 is from 0.71 to 1.41.
        shift: fraction of the image's side to either side, horizontally and vertically.
        flip_horizontal: mirror half of the images left to right.
        flip_vertical: mirror half of the images top to bottom.
        brightness: added to all channels, of the value range, to either side.
        noise: largest standard deviation of Gaussian pixel noise, of the value range.
    """

    rotation: Annotated[float, Range(0, 180)] = 0.0
    scale: Annotated[float, Octaves] = 0.0
    shift: Annotated[float, Fraction] = 0.0
    flip_horizontal: bool = False
    flip_vertical: bool = False
    brightness: Annotated[float, Fraction] = 0.0
    noise: Annotated[float, Fraction] = 0.0


def augment(
    key: jax.Array, images: Float[Array, "n s s 3"], config: AugmentConfig
) -> Float[Array, "n s s 3"]:
    """Random flips, rotation, zoom, shift, brightness and noise of images in [0, 1], to images in [0, 1].

    Areas that come into view from outside of an image repeat its outermost pixels.
    """
    n = images.shape[0]
    keys = jax.random.split(key, 8)

    def either_side(i: int, limit: float, shape: tuple[int, ...] = (n,)) -> jax.Array:
        return limit * jax.random.uniform(keys[i], shape, minval=-1)

    def flip(i: int, images: jax.Array, axis: int) -> jax.Array:
        flipped = jax.random.bernoulli(keys[i], 0.5, (n, 1, 1, 1))
        return jnp.where(flipped, jnp.flip(images, axis), images)

    if config.flip_horizontal:
        images = flip(0, images, 2)
    if config.flip_vertical:
        images = flip(1, images, 1)
    if config.rotation or config.scale or config.shift:
        angles = jnp.deg2rad(either_side(2, config.rotation))
        zooms = jnp.exp2(either_side(3, config.scale))
        shifts = either_side(4, config.shift * images.shape[1], (n, 2))
        maps = input_maps(angles, zooms, shifts, images.shape[1])
        diagonal = 2 ** (0.5 + config.scale)
        images = warp(images, maps, images.shape[1], diagonal=diagonal, border="edge")
    if config.brightness:
        images = images + either_side(5, config.brightness, (n, 1, 1, 1))
    if config.noise:
        deviation = config.noise * jax.random.uniform(keys[6], (n, 1, 1, 1))
        images = images + deviation * jax.random.normal(keys[7], images.shape)
    return jnp.clip(images, 0, 1)
