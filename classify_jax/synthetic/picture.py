"""Pictures of a shape at a random place, rotation, stretch, colour and light, on a cluttered background."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from classify_jax.synthetic.distances import CLASSES, distances
from engine_jax.synthetic import chunk_keys, render_series

CHUNK = 64  # pictures rendered in a call
_DRAWS = 32  # random numbers of a scene, besides its noise
_CELLS = 8  # number of the noise's values along a picture's side
_BARS = 3  # number of bars behind the shape
# Colours of shape and ground differ by at least this much in one channel.
_CONTRAST = 0.35


def render(key: PRNGKeyArray, kind: Int[Array, ""], size: int) -> UInt8[Array, "s s 3"]:
    """Draws one shape.

    Args:
        key: a typed random key, which determines everything but the kind of shape.
        kind: an index into `CLASSES`.
        size: side of the picture in pixels, a Python integer.
    """
    scene_key, camera_key = jax.random.split(key)
    # A single draw, because each one adds its own generator to the compiled program.
    u = jax.random.uniform(scene_key, (_DRAWS + 2 * _CELLS**2,))
    rough = _noise(u[_DRAWS:].reshape(2, _CELLS, _CELLS), size)
    line = (jnp.arange(size) + 0.5) / size - 0.5
    x, y = line[None, :], line[:, None]  # relative to the middle, as fractions of the side

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
    # Three bytes of a random word make three channels; normal numbers would take most of the rendering time.
    word = jax.random.bits(key, (size, size), jnp.uint32)
    return jnp.stack([(word >> shift) & 255 for shift in (0, 8, 16)], -1) / 127.5 - 1


def _colours(u: Float[Array, "6"]) -> tuple[Float[Array, "3"], Float[Array, "3"]]:
    """Distinguishable colours of the background and of the shape."""
    ground, colour = u[:3], u[3:]
    far = jnp.max(jnp.abs(ground - colour)) >= _CONTRAST
    return ground, jnp.where(far, colour, (ground + 0.5) % 1)


def _noise(u: Float[Array, "f n n"], size: int) -> Float[Array, "f s s"]:
    """Smooth textures in [-1, 1] from uniform numbers, by linear interpolation."""
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
    """A background of uneven colour, crossed by lighter and darker bars."""
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
    """The share of each pixel that the shape covers, in [0, 1]; the shape is entirely inside the picture."""
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

    Picture i depends only on the seed and i, so that non-overlapping ranges of one seed are disjoint sets; its class is
    i modulo the number of classes.

    Args:
        seed: of the series.
        count: number of pictures.
        size: side of the pictures in pixels.
        start: index of the first picture.

    Raises:
        UserError: a count below 1, a size below 8, or a negative start or seed.
    """
    images = render_series("shapes", _chunk, CHUNK, seed, count, size, start)
    return images, (np.arange(start, start + count) % len(CLASSES)).astype(np.int32)
