"""Shaded, tapered capsules drawn into a colour and depth buffer by their signed distances."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Look(NamedTuple):
    """The surface of a capsule, in colours of [0, 1]: striped cloth up to the cuff, and bare parts.

    Attributes:
        cloth, stripe, bare: the three colours.
        pattern: number of stripes along the capsule and across it, and the phase; (0, 0, 0.5) is plain cloth.
        cuff: the fraction of the capsule's length at which the cloth ends.
        front: a direction in the camera's frame. The surface is bare where its normal's component along it exceeds
            `hairline`.
        hairline: see `front`; 2 is nowhere.
    """

    cloth: Float[Array, "*n 3"]
    stripe: Float[Array, "*n 3"]
    bare: Float[Array, "*n 3"]
    pattern: Float[Array, "*n 3"]
    cuff: Float[Array, "*n"]
    front: Float[Array, "*n 3"]
    hairline: Float[Array, "*n"]


class Capsules(NamedTuple):
    """Capsules in the picture.

    Attributes:
        ends: (x, y) of both ends, pixels.
        radii: at both ends, pixels.
        depths: of the axis at both ends; smaller is nearer.
        bulge: largest distance by which the surface is nearer than its axis, in units of depth.
        square: 1 for a flat bar with square ends, 0 for a round capsule.
        look: the surface.
    """

    ends: Float[Array, "*n 2 2"]
    radii: Float[Array, "*n 2"]
    depths: Float[Array, "*n 2"]
    bulge: Float[Array, "*n"]
    square: Float[Array, "*n"]
    look: Look


class Light(NamedTuple):
    """Directional light (its direction points to the light, in the camera's frame) and ambient light."""

    direction: Float[Array, "3"]
    direct: Float[Array, "3"]
    ambient: Float[Array, "3"]


def plain(colour: Float[Array, "*n 3"]) -> Look:
    """A surface of one colour."""
    n = colour.shape[:-1]
    pattern = jnp.broadcast_to(jnp.array([0.0, 0.0, 0.5]), (*n, 3))
    return Look(colour, colour, colour, pattern, jnp.ones(n), jnp.zeros((*n, 3)), jnp.full(n, 2.0))


def pixel_grid(size: int) -> tuple[Float[Array, "1 s"], Float[Array, "s 1"]]:
    """The x and y of all pixel centres; they broadcast."""
    line = jnp.arange(size, dtype=jnp.float32)
    return line[None, :], line[:, None]


def coverage(ends, radii, square, size: int, softness=1.0):
    """The share of each pixel that a capsule covers, and the pixel's position on the capsule.

    Returns:
        Arrays [size, size]:
        cover: in [0, 1].
        along: position along the axis, as a fraction of its length.
        across: signed distance to the axis, as a fraction of the radius.
        offset: x and y from the nearest point of the axis, as fractions of the radius.
    """
    x, y = pixel_grid(size)
    start, axis = ends[0], ends[1] - ends[0]
    length = jnp.sqrt(axis @ axis + 1e-6)
    unit = axis / length
    x, y = x - start[0], y - start[1]
    run = x * unit[0] + y * unit[1]
    nearest = jnp.clip(run, 0.0, length)
    along = nearest / length
    inverse_radius = 1.0 / (radii[0] + along * (radii[1] - radii[0]))
    across = x * unit[1] - y * unit[0]
    beyond = run - nearest
    distance = jnp.sqrt(across * across + (1.0 - square) * beyond * beyond + 1e-6)
    to_end = jnp.minimum(run, length - run) + 1e4 * (1.0 - square)
    inside = jnp.minimum(1.0 / inverse_radius - distance, to_end)
    cover = jnp.clip(0.5 + inside / softness, 0.0, 1.0)
    offset = (
        (across * unit[1] + beyond * unit[0]) * inverse_radius,
        (beyond * unit[1] - across * unit[0]) * inverse_radius,
    )
    return cover, along, across * inverse_radius, offset


def draw(picture: Float[Array, "3 s s"], capsules: Capsules, light: Light) -> Float[Array, "3 s s"]:
    """Draws capsules over a picture, nearer ones in front.

    Capsules are drawn one at a time with a depth buffer, so that memory does not grow with their number.
    """
    size = picture.shape[-1]

    def step(buffers, capsule: Capsules):
        colours, depth = buffers
        look = capsule.look
        cover, along, across, (nx, ny) = coverage(capsule.ends, capsule.radii, capsule.square, size)
        nz = -jnp.sqrt(jnp.maximum(1.0 - nx * nx - ny * ny, 0.0))
        at = capsule.depths[0] + along * (capsule.depths[1] - capsule.depths[0])
        at = at + capsule.bulge * nz
        cover = jnp.where(at < depth, cover, 0.0)

        cycle = look.pattern[0] * along + look.pattern[1] * across + look.pattern[2]
        striped = cycle - jnp.floor(cycle) < 0.5
        facing = nx * look.front[0] + ny * look.front[1] + nz * look.front[2]
        bare = (along > look.cuff) | (facing > look.hairline)
        d = light.direction
        lit = jnp.maximum(nx * d[0] + ny * d[1] + nz * d[2], 0.0)
        lit = jnp.where(capsule.square > 0, 0.7, lit)
        drawn = []
        for c in range(3):
            surface = jnp.where(
                bare, look.bare[c], jnp.where(striped, look.stripe[c], look.cloth[c])
            )
            shaded = surface * (light.ambient[c] + light.direct[c] * lit)
            drawn.append(colours[c] + cover * (shaded - colours[c]))
        return (tuple(drawn), jnp.where(cover > 0.5, at, depth)), None

    buffers = (tuple(picture), jnp.full((size, size), jnp.inf))
    (colours, _), _ = jax.lax.scan(step, buffers, capsules)
    return jnp.stack(colours)


def shade(capsules: Capsules, size: int, softness: float) -> Float[Array, "s s"]:
    """The share of each pixel inside the union of the capsules, with soft edges."""

    def step(shadow, capsule: Capsules):
        cover, *_ = coverage(capsule.ends, capsule.radii, capsule.square, size, softness)
        return jnp.maximum(shadow, cover), None

    return jax.lax.scan(step, jnp.zeros((size, size)), capsules)[0]
