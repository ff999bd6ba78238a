"""What a network sees of an image: crops, mirrored or not, with normalised colours."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

Crops = Literal["centre", "five"]


class View(NamedTuple):
    """A crop of an image: its first row and column, and whether it is mirrored left to right."""

    top: int
    left: int
    mirrored: bool


def views(kept: int, size: int, crops: Crops, mirror: bool) -> list[View]:
    """The views of an evaluation, the centre crop first, which come from images of `kept` pixels a side.

    Source: Krizhevsky et al. 2012, section 4.1: the four corners and the centre, and their mirror images.
    """
    margin = kept - size
    places = [(margin // 2, margin // 2)]
    if crops == "five" and margin:
        places += [(top, left) for top in (0, margin) for left in (0, margin)]
    return [
        View(*place, flip) for flip in ((False, True) if mirror else (False,)) for place in places
    ]


def crop(
    images: Shaped[Array, "b c c 3"],
    tops: Int[Array, " b"],
    lefts: Int[Array, " b"],
    mirrored: Bool[Array, " b"],
    size: int,
) -> Shaped[Array, "b s s 3"]:
    """Of each image the square of `size` pixels at a place, mirrored left to right or not."""

    def one(image: Array, top: Array, left: Array) -> Array:
        return jax.lax.dynamic_slice(image, (top, left, 0), (size, size, image.shape[-1]))

    squares = jax.vmap(one)(images, tops, lefts)
    return jnp.where(mirrored[:, None, None, None], squares[:, :, ::-1], squares)


def as_values(pixels: Shaped[Array, "*b"]) -> Float[Array, "*b"]:
    """uint8 pixels as float32 in [0, 1]."""
    return pixels.astype(jnp.float32) / 255
