"""Pictures of synthetic nuts, good ones and faulty ones, rendered by a JAX program from a seed."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt8

from anomaly_jax.synthetic import nut, scene
from anomaly_jax.synthetic.defects import DEFECTS, defect_of, paint
from engine_jax.errors import UserError
from engine_jax.synthetic import chunk_keys, photograph, render_series

CHUNK = 16  # nuts rendered in a call

# A pixel is faulty if the defect changes one of its colour channels, in [0, 1], by more than this.
VISIBLE = 0.03

# Random numbers for each part of the scene: shape, light, cloth, shell and defect. No part uses all of them.
_DRAWS = 64

# Roughness of the noise on the shell (coarse, fine) and on the cloth, see `scene.noise`.
_ROUGHNESS = (0.75, 1.5, 1.2)


class Picture(NamedTuple):
    """A picture of one nut, and the mask of its defect."""

    image: UInt8[Array, "s s 3"]
    mask: Bool[Array, "s s"]


def render(key: PRNGKeyArray, kind: Array | int, size: int) -> Picture:
    """Draws one nut, with or without a defect.

    Args:
        key: a typed random key, which determines the nut, and together with `kind` its defect.
        kind: an index into `DEFECTS`, or len(DEFECTS) for a good nut.
        size: side of the image in pixels, a Python integer.

    Returns:
        image [size, size, 3] uint8; mask [size, size], true where the picture before the camera's noise differs from
        that of the same nut without its defect by more than `VISIBLE`.
    """
    scene_key, camera_key = jax.random.split(key)
    parts, lattice = _numbers(scene_key)
    rough = scene.noise(lattice, size, jnp.array(_ROUGHNESS))
    clean, faulty = _scene(parts, rough, kind)
    mask = jnp.max(jnp.abs(faulty - clean), 0) > VISIBLE
    strength = 0.008 + 0.012 * parts[4, -1]
    return Picture(photograph(camera_key, faulty, strength), mask)


def _numbers(key: PRNGKeyArray) -> tuple[Float[Array, "5 n"], Float[Array, "3 m m"]]:
    """Uniform numbers in [0, 1) for the parts of the scene and for its noise."""
    # A single draw, because each one adds its own generator to the compiled program.
    u = jax.random.uniform(key, (5 * _DRAWS + 3 * scene.NOISE**2,))
    lattice = u[5 * _DRAWS :].reshape(3, scene.NOISE, scene.NOISE)
    return u[: 5 * _DRAWS].reshape(5, _DRAWS), lattice


def _scene(
    parts: Float[Array, "5 n"], rough: Float[Array, "3 s s"], kind: Array | int
) -> tuple[Float[Array, "3 s s"], Float[Array, "3 s s"]]:
    """The nut without and with its defect, in colours of [0, 1]."""
    shape = nut.shape_of(parts[0])
    light = scene.light_of(parts[1])
    ground = scene.cloth(parts[2], shape, light, rough[2])
    seen = nut.surface(shape, rough.shape[-1])
    shell = nut.colour(parts[3], seen, rough[:2])
    wounded, gloss = paint(shell, defect_of(parts[4], kind), seen, rough[1])

    clean = scene.shade(shell, seen, light, jnp.ones_like(gloss))
    faulty = scene.shade(wounded, seen, light, gloss)
    clean, faulty = (ground + seen.cover * (top - ground) for top in (clean, faulty))
    return jnp.clip(clean, 0, 1), jnp.clip(faulty, 0, 1)


@functools.partial(jax.jit, static_argnames="size")
def _chunk(key: PRNGKeyArray, first: Array, size: int, kind: Array) -> Picture:
    return jax.vmap(lambda item: render(item, kind, size))(chunk_keys(key, first, CHUNK))


def nuts(
    seed: int, count: int, size: int, defect: str | None = None, start: int = 0
) -> tuple[UInt8[np.ndarray, "n s s 3"], Bool[np.ndarray, "n s s"]]:
    """Synthetic nuts `start` to `start + count - 1` of a seed, as NumPy arrays: images and masks of their defects.

    Nut i depends only on the seed and i, so that non-overlapping ranges of one seed are disjoint sets. A nut with a
    defect is otherwise the same as the good nut of the same seed and index.

    Args:
        seed: of the series.
        count: number of nuts.
        size: side of the images in pixels.
        defect: one of `DEFECTS`, or None for good nuts, whose masks are empty.
        start: index of the first nut.

    Raises:
        UserError: a count below 1, a size below 8, a negative start or seed, or an unknown defect.
    """
    if defect is not None and defect not in DEFECTS:
        accepted = ", ".join(DEFECTS)
        raise UserError(f"synthetic nuts: defect is {defect!r}, must be None or one of {accepted}")
    kind = len(DEFECTS) if defect is None else DEFECTS.index(defect)
    chunk = functools.partial(_chunk, kind=kind)
    series = render_series("synthetic nuts", chunk, CHUNK, seed, count, size, start)
    return series.image, series.mask
