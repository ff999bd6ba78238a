"""A shape anywhere in a picture, turned, stretched, coloured and lit at random, before a cluttered ground."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from classify_jax.synthetic.distances import CLASSES, distances
from engine_jax.synthetic import chunk_keys, render_series

CHUNK = 64  # pictures rendered in a call
_DRAWS = 32  # random numbers of a scene, besides its noise
_CELLS = 8  # values of the noise along a picture's side
_BARS = 3  # behind the shape
# Colours of shape and ground differ by at least this much in one channel.
_CONTRAST = 0.35


def render(key: PRNGKeyArray, kind: Int[Array, ""], size: int) -> UInt8[Array, "s s 3"]:
    """Draws one shape.

    Args:
        key: a typed random key, which decides all but the kind of shape.
        kind: an index into `CLASSES`.
        size: side of the picture in pixels, a Python integer.
    """
    scene_key, camera_key = jax.random.split(key)
    # One draw for all: each draw adds its own generator to the compiled program.
    u = jax.random.uniform(scene_key, (_DRAWS + 2 * _CELLS**2,))
    rough = _noise(u[_DRAWS:].reshape(2, _CELLS, _CELLS), size)
    line = (jnp.arange(size) + 0.5) / size - 0.5
    x, y = line[None, :], line[:, None]  # sides of the picture from its middle

    ground, colour = _colours(u[:6])
    bars = u[14 : 14 + 4 * _BARS].reshape(_BARS, 4)
    picture = _ground(x, y, ground, bars, u[8], rough[0], size)
    cover = _cover(x, y, kind, u[26:32], size)
    light = 2 * jnp.pi * u[6]
    shade = 1 + 0.8 * (u[7] - 0.3) * (jnp.cos(light) * x + jnp.sin(light) * y) + 0.25 * rough[1]
    picture = picture + cover[..., None] * (colour * shade[..., None] - picture)  # [s, s, 3]

    picture = picture + (0.01 + 0.07 * u[9]) * _grain(camera_key, size)
    return jnp.round(jnp.clip(picture, 0, 1) * 255).astype(jnp.uint8)


def _grain(key: PRNGKeyArray, size: int) -> Float[Array, "s s 3"]:
    """The camera's noise, in [-1, 1]."""
    # Three bytes of one random word are three channels: normal draws would take most of the rendering's time.
    word = jax.random.bits(key, (size, size), jnp.uint32)
    return jnp.stack([(word >> shift) & 255 for shift in (0, 8, 16)], -1) / 127.5 - 1


def _colours(u: Float[Array, "6"]) -> tuple[Float[Array, "3"], Float[Array, "3"]]:
    """Of the ground and of the shape, which can be told apart."""
    ground, colour = u[:3], u[3:]
    far = jnp.max(jnp.abs(ground - colour)) >= _CONTRAST
    return ground, jnp.where(far, colour, (ground + 0.5) % 1)


def _noise(u: Float[Array, "f n n"], size: int) -> Float[Array, "f s s"]:
    """Uniform numbers as smooth textures in [-1, 1], interpolated linearly."""
    at = (np.arange(size)[:, None] + 0.5) / size * (_CELLS - 1)
    hats = np.maximum(1 - np.abs(at - np.arange(_CELLS)), 0).astype(np.float32)  # [s, n]
    return jnp.asarray(hats) @ (2 * u - 1) @ hats.T


def _ground(
    x: Float[Array, "1 s"],
    y: Float[Array, "s 1"],
    colour: Float[Array, "3"],
    bars: Float[Array, "n 4"],
    strength: Float[Array, ""],
    rough: Float[Array, "s s"],
    size: int,
) -> Float[Array, "s s 3"]:
    """A ground of uneven colour, crossed by bars of lighter and darker tones."""
    tone = 0.2 * rough
    for bar in bars:
        across = jnp.cos(jnp.pi * bar[0]) * x + jnp.sin(jnp.pi * bar[0]) * y
        distance = jnp.abs(across - (bar[1] - 0.5)) - 0.01 - 0.05 * bar[2]
        inside = jnp.clip(0.5 - distance * size, 0, 1)
        tone = tone + inside * strength * 0.6 * (bar[3] - 0.5)
    return colour + tone[..., None]


def _cover(
    x: Float[Array, "1 s"],
    y: Float[Array, "s 1"],
    kind: Int[Array, ""],
    u: Float[Array, "6"],
    size: int,
) -> Float[Array, "s s"]:
    """How much of each pixel the shape covers, wholly inside of the picture, in [0, 1]."""
    radius = 0.24 + 0.16 * u[0]
    room = 0.5 - radius
    x, y = x - room * (2 * u[1] - 1), y - room * (2 * u[2] - 1)
    turn, stretch = 2 * jnp.pi * u[3], 1 - 0.2 * u[4]
    cos, sin = jnp.cos(turn), jnp.sin(turn)
    along, across = (cos * x + sin * y) / radius, (cos * y - sin * x) / (radius * stretch)
    distance = distances(along, across)[kind]
    return jnp.clip(0.5 - distance * radius * size, 0, 1)


@partial(jax.jit, static_argnames="size")
def _chunk(key: PRNGKeyArray, first: Array, size: int) -> UInt8[Array, "n s s 3"]:
    kinds = (first + jnp.arange(CHUNK)) % len(CLASSES)
    return jax.vmap(partial(render, size=size))(chunk_keys(key, first, CHUNK), kinds)


def shapes(
    seed: int, count: int, size: int, start: int = 0
) -> tuple[UInt8[np.ndarray, "n s s 3"], Int[np.ndarray, " n"]]:
    """Pictures `start` to `start + count - 1` of a seed's series and their classes, as NumPy arrays.

    Picture i depends on the seed and i only, so that ranges of one seed that don't overlap are disjoint sets; its class
    is i modulo the number of classes.

    Args:
        seed: names a series.
        count: how many.
        size: side of the pictures in pixels.
        start: index of the first.

    Raises:
        UserError: a count below 1, a size below 8, or a negative start or seed.
    """
    images = render_series("shapes", _chunk, CHUNK, seed, count, size, start)
    return images, (np.arange(start, start + count) % len(CLASSES)).astype(np.int32)
