"""Signed distances to shapes of about unit radius: negative inside a shape, positive outside.

Away from the outline some are only bounds of the distance, which is enough to draw the outline.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

Points = Float[Array, "*p"]

# The names of the classes, in the order of `distances`.
CLASSES = (
    "arrow",
    "circle",
    "crescent",
    "cross",
    "heart",
    "ring",
    "semicircle",
    "square",
    "star",
    "triangle",
)


def distances(x: Points, y: Points) -> Float[Array, "k *p"]:
    """The signed distance of each point (x, y) to every shape, in the order of `CLASSES`."""
    radius = jnp.hypot(x, y)
    return jnp.stack(
        [
            _arrow(x, y),
            radius - 0.85,
            jnp.maximum(radius - 0.95, 0.78 - jnp.hypot(x - 0.45, y)),  # a disc less another
            jnp.minimum(_box(x, y, 1.0, 0.32), _box(x, y, 0.32, 1.0)),
            _heart(x, y),
            jnp.abs(radius - 0.72) - 0.2,
            jnp.maximum(jnp.hypot(x, y + 0.4) - 1.0, -(y + 0.4)),
            _box(x, y, 0.75, 0.75),
            _star(x, y),
            _triangle(x, y),
        ]
    )


def _box(x: Points, y: Points, half_width: float, half_height: float) -> Points:
    dx, dy = jnp.abs(x) - half_width, jnp.abs(y) - half_height
    outside = jnp.hypot(jnp.maximum(dx, 0), jnp.maximum(dy, 0))
    return outside + jnp.minimum(jnp.maximum(dx, dy), 0)


def _arrow(x: Points, y: Points) -> Points:
    """A shaft, and a head that points to (1, 0)."""
    head = jnp.maximum(0.1 - x, (0.75 * (x - 1) + 0.9 * jnp.abs(y)) / jnp.hypot(0.75, 0.9))
    return jnp.minimum(_box(x + 0.4, y, 0.55, 0.2), head)


def _heart(x: Points, y: Points) -> Points:
    """A square on its corner, and discs on its two upper edges."""
    half, y = 0.55, y - 0.1
    middle = half / 2**0.5  # of an upper edge, along either axis
    square = _box((x + y) / 2**0.5, (x - y) / 2**0.5, half, half)
    return jnp.minimum(square, jnp.hypot(jnp.abs(x) - middle, y + middle) - half)


def _star(x: Points, y: Points) -> Points:
    """Five points at radius 1, with corners at radius 0.42 between them."""
    sector = 2 * jnp.pi / 5
    # By symmetry, every point maps to one within half a sector of the tip at (1, 0), on its left side.
    angle = jnp.abs((jnp.arctan2(y, x) + sector / 2) % sector - sector / 2)
    radius = jnp.hypot(x, y)
    x, y = radius * jnp.cos(angle), radius * jnp.sin(angle)
    corner_x, corner_y = 0.42 * jnp.cos(sector / 2), 0.42 * jnp.sin(sector / 2)
    # The line from the tip to the corner.
    return (corner_y * (x - 1) + (1 - corner_x) * y) / jnp.hypot(corner_y, 1 - corner_x)


def _triangle(x: Points, y: Points) -> Points:
    """Equilateral, with corners at radius 1."""
    sides = [jnp.cos(turn) * x + jnp.sin(turn) * y for turn in 2 * jnp.pi / 3 * jnp.arange(3)]
    return jnp.maximum(jnp.maximum(sides[0], sides[1]), sides[2]) - 0.5
