"""Random changes to training images, on the device and inside jit."""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from engine_jax.config import AtLeastZero, Fraction, Range


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes to training images; 0 or False switches each off.

    Only changes that a good part may show belong here: what the network learns to reconstruct is no fault to it.

    Attributes:
        rotation: degrees to either side.
        scale: log2 of the zoom to either side; 0.5 is from 0.71 to 1.41.
        shift: parts of the image's side to either side, horizontally and vertically.
        flip_horizontal: mirror half of the images left to right.
        flip_vertical: mirror half of the images top to bottom.
        brightness: added to all channels, of the value range, to either side.
        noise: largest standard deviation of Gaussian pixel noise, of the value range.
    """

    rotation: Annotated[float, Range(0, 180)] = 0.0
    scale: Annotated[float, AtLeastZero] = 0.0
    shift: Annotated[float, Fraction] = 0.0
    flip_horizontal: bool = False
    flip_vertical: bool = False
    brightness: Annotated[float, Fraction] = 0.0
    noise: Annotated[float, Fraction] = 0.0


def augment(
    key: jax.Array, images: Float[Array, "n s s 3"], config: AugmentConfig
) -> Float[Array, "n s s 3"]:
    """Changes each image in [0, 1] at random: flips, geometry, brightness, noise. The result stays in [0, 1].

    What comes into view from outside of an image repeats its edge.
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
        images = jax.vmap(move)(images, angles, zooms, shifts)
    if config.brightness:
        images = images + either_side(5, config.brightness, (n, 1, 1, 1))
    if config.noise:
        deviation = config.noise * jax.random.uniform(keys[6], (n, 1, 1, 1))
        images = images + deviation * jax.random.normal(keys[7], images.shape)
    return jnp.clip(images, 0, 1)


def move(
    image: Float[Array, "s s c"],
    angle: Float[Array, ""],
    zoom: Float[Array, ""],
    shift: Float[Array, "2"],
) -> Float[Array, "s s c"]:
    """Rotates and zooms an image about its centre, then shifts it; bilinear, with its edge repeated around it.

    It doesn't filter, so a zoom of much less than 1 aliases.

    Args:
        image: a square image.
        angle: in radians, from the x axis, which points right, to the y axis, which points down.
        zoom: above 1 enlarges.
        shift: (x, y) in pixels.
    """
    size = image.shape[0]
    centre = (size - 1) / 2
    ticks = jnp.arange(size) - centre
    x, y = ticks[None, :] - shift[0], ticks[:, None] - shift[1]
    cos, sin = jnp.cos(angle) / zoom, jnp.sin(angle) / zoom
    # Where each pixel comes from.
    column = jnp.clip(cos * x + sin * y + centre, 0, size - 1)  # [s, s]
    row = jnp.clip(cos * y - sin * x + centre, 0, size - 1)
    left, top = jnp.floor(column), jnp.floor(row)
    across, down = (column - left)[..., None], (row - top)[..., None]  # [s, s, 1]
    x0, y0 = left.astype(jnp.int32), top.astype(jnp.int32)
    x1, y1 = jnp.minimum(x0 + 1, size - 1), jnp.minimum(y0 + 1, size - 1)
    upper = (1 - across) * image[y0, x0] + across * image[y0, x1]
    lower = (1 - across) * image[y1, x0] + across * image[y1, x1]
    return (1 - down) * upper + down * lower
