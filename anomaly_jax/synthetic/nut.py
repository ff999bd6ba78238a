"""The shape and the shell of a hazelnut seen from above.

The outline is given in polar coordinates, and the nut is a unit sphere stretched to it: each pixel inside the outline
corresponds to a point on the sphere, which gives its normal, its latitude and longitude on the shell, and its colour.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

# Periods of each streak around the shell; integers, so that the texture has no seam.
_STREAKS = (3, 5, 8, 11, 13, 17, 19, 23, 29, 31, 37, 43)


class Shape(NamedTuple):
    """Outline and pose.

    Attributes:
        centre: (x, y) in sides of the picture, from its middle.
        radius: half of the nut's length in sides of the picture.
        turn: the direction of the tip in the picture, radians.
        tilt: angle by which the tip points towards the camera (the base if negative), radians.
        width: half-width divided by half-length.
        square, egg: bulge of the outline at its corners, and towards its base.
        tip: length of the tip.
    """

    centre: Float[Array, "2"]
    radius: Float[Array, ""]
    turn: Float[Array, ""]
    tilt: Float[Array, ""]
    width: Float[Array, ""]
    square: Float[Array, ""]
    egg: Float[Array, ""]
    tip: Float[Array, ""]


class Surface(NamedTuple):
    """The nut's surface at each pixel of the picture.

    Attributes:
        cover: share of the pixel that the nut covers, in [0, 1].
        at: (across, along) in the unit disc that is stretched to the outline; the tip is at (0, 1).
        normal: unit vectors (right, down, towards the camera).
        shell: the point on the unit sphere in the nut's own frame, whose last axis points to the tip.
        pitch: side of a pixel in units of `at`.
    """

    cover: Float[Array, "s s"]
    at: Float[Array, "2 s s"]
    normal: Float[Array, "3 s s"]
    shell: Float[Array, "3 s s"]
    pitch: Float[Array, ""]


def pixel_grid(size: int) -> tuple[Float[Array, "1 s"], Float[Array, "s 1"]]:
    """The x and y of all pixel centres relative to the picture's middle, as fractions of its side; they broadcast."""
    line = (jnp.arange(size) + 0.5) / size - 0.5
    return line[None, :], line[:, None]


def shape_of(u: Float[Array, "n"]) -> Shape:
    """A nut near the middle of the picture, in any orientation, from uniform numbers in [0, 1)."""
    return Shape(
        centre=0.08 * (u[:2] - 0.5),
        radius=0.32 + 0.05 * u[2],
        turn=2 * jnp.pi * u[3],
        tilt=jnp.radians(-55.0 + 90.0 * u[4]),
        width=0.84 + 0.12 * u[5],
        square=0.01 + 0.05 * u[6],
        egg=0.02 + 0.10 * u[7],
        tip=0.14 + 0.16 * u[8],
    )


def surface(shape: Shape, size: int) -> Surface:
    """The nut's surface in a picture of size x size pixels."""
    x, y = pixel_grid(size)
    x, y = (x - shape.centre[0]) / shape.radius, (y - shape.centre[1]) / shape.radius
    cos, sin = jnp.cos(shape.turn), jnp.sin(shape.turn)
    # Seen along its axis, a nut is round.
    width = 1 - (1 - shape.width) * jnp.cos(shape.tilt)
    across, along = (cos * y - sin * x) / width, cos * x + sin * y

    distance = jnp.sqrt(across**2 + along**2 + 1e-6)
    c, s = along / distance, across / distance
    from_tip = jnp.sqrt(jnp.maximum(2 - 2 * c, 0) + 0.01)  # about the angle
    outline = (
        1
        + shape.square * (2 * c * s) ** 2
        - shape.egg * c * s**2
        + shape.tip * jnp.cos(shape.tilt) ** 2 * jnp.exp(-from_tip / 0.16)
    )
    pitch = 1 / (size * shape.radius)
    at = jnp.stack([across, along]) / outline
    cover = jnp.clip(0.5 + (outline - distance) / pitch, 0, 1)

    squared = jnp.sum(at**2, 0)
    # Pixels on the edge take the colour of the edge.
    a, b = at / jnp.sqrt(jnp.maximum(squared, 1))
    up = jnp.sqrt(jnp.maximum(1 - squared, 0))
    normal = jnp.stack([cos * b - sin * a, sin * b + cos * a, up])
    cos, sin = jnp.cos(shape.tilt), jnp.sin(shape.tilt)
    shell = jnp.stack([a, cos * up - sin * b, cos * b + sin * up])
    return Surface(cover, at, normal, shell, pitch)


def colour(
    u: Float[Array, "n"], seen: Surface, rough: Float[Array, "2 s s"]
) -> Float[Array, "3 s s"]:
    """The shell's colour without light: brown with streaks from base to tip, speckles, a pale rough disc at the base.

    Args:
        u: at least 48 uniform numbers in [0, 1).
        seen: the nut's surface.
        rough: noise in about [-1, 1], coarse and fine.
    """
    x, y, height = seen.shell
    turns = jnp.arctan2(x, y) / (2 * jnp.pi) + 0.006 * rough[0]  # of longitude
    phase, bend, weight = u[12 : 12 + 3 * len(_STREAKS)].reshape(3, -1)
    weight = weight / jnp.sqrt(jnp.array(_STREAKS))
    weight = weight / jnp.linalg.norm(weight)
    streak = sum(
        weight[i] * _wave(often * turns + phase[i] + 0.6 * (bend[i] - 0.5) * height)
        for i, often in enumerate(_STREAKS)
    )
    # Streaks converge at the poles and fade there.
    streak = streak * (1 - height**2)

    dark, light = jnp.array([0.40, 0.235, 0.13]), jnp.array([0.66, 0.42, 0.235])
    brown = dark + u[0] * (light - dark) + 0.05 * (u[1] - 0.5) * jnp.array([1.0, 0.0, -1.0])
    tone = 1 + (0.08 + 0.06 * u[2]) * streak + (0.05 + 0.07 * u[3]) * rough[0]
    # Small dark speckles, at the minima of the noise.
    tone = tone - (0.2 + 0.3 * u[4]) * jnp.clip(-2 * rough[1] - 1.5, 0, 1)
    shell = brown[:, None, None] * tone

    # Grey down around the tip, and the dark point of the tip.
    down = (0.25 + 0.35 * u[5]) * jnp.clip((height - 0.62 + 0.08 * streak) / 0.35, 0, 1)
    shell = shell + down * (jnp.array([0.62, 0.53, 0.43])[:, None, None] - shell)
    shell = shell * (1 - 0.5 * jnp.clip((height - 0.985) / 0.01, 0, 1))

    # The disc by which the nut sat in its husk.
    edge = -0.80 + 0.08 * (u[6] - 0.5) + 0.025 * streak + 0.02 * rough[0]
    inside = jnp.clip(0.5 + (edge - height) / 0.03, 0, 1)
    pale = jnp.array([0.66, 0.54, 0.40]) * (0.85 + 0.2 * u[7])
    disc = pale[:, None, None] * (1 + 0.16 * rough[0] - 0.3 * jnp.clip(-1.5 * rough[1] - 0.5, 0, 1))
    shell = shell + inside * (disc - shell)
    # A darker line runs around it.
    return shell * (1 - 0.25 * jnp.clip(1 - jnp.abs(edge - height) / 0.03, 0, 1))


def _wave(turns: Float[Array, "s s"]) -> Float[Array, "s s"]:
    """A cubic approximation of the cosine of `turns` full turns, many times cheaper."""
    off = jnp.abs(turns - jnp.round(turns))
    return 1 - off * off * (24 - 32 * off)
