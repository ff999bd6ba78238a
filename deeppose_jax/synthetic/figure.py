"""Pictures of synthetic people, rendered by a JAX program from a seed."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt8

from deeppose_jax.boxes import whole_image
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.synthetic import scene
from deeppose_jax.synthetic.body import sample_body
from deeppose_jax.synthetic.capsules import draw, pixel_grid
from deeppose_jax.synthetic.person import capsules, dress, sample_outfit
from engine_jax.errors import UserError

# Figures are rendered so many at a time. A figure always has the same place in its chunk, so that it is the same to the
# last bit however many are asked for.
CHUNK = 16


class Figure(NamedTuple):
    """A picture of one person, with joints in LSP's order, person-centric, in pixels."""

    image: UInt8[Array, "s s 3"]
    joints: Float[Array, "14 2"]
    labelled: Bool[Array, "14"]


def render(key: PRNGKeyArray, size: int) -> Figure:
    """Draws one person in a random pose, outfit, place and light.

    Args:
        key: a typed random key; it alone decides the figure.
        size: side of the image in pixels, a Python integer.

    Returns:
        image [size, size, 3] uint8; joints [14, 2] as (x, y) pixels; labelled [14], false for joints outside the image.
    """
    keys = jax.random.split(key, 9)
    view = scene.sample_view(keys[0], sample_body(keys[1]), size)
    parts = dress(view.body, sample_outfit(keys[2]))
    light = scene.sample_light(keys[3])

    picture = scene.backdrop(keys[4], view, size)
    things = (
        scene.clutter(keys[5], size),
        capsules(parts, view.camera),
        scene.occluders(keys[6], size),
    )
    solids = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *things)
    picture = picture * (1.0 - 0.5 * scene.cast_shadow(view, parts, light, size))
    picture = draw(picture, solids, light)
    image = photograph(keys[7], keys[8], picture)

    joints = view.camera.project(view.body.joints)
    labelled = jnp.all((joints >= -0.5) & (joints < size - 0.5), axis=-1)
    return Figure(image, joints, labelled)


def photograph(
    key: PRNGKeyArray, noise_key: PRNGKeyArray, picture: Float[Array, "3 s s"]
) -> UInt8[Array, "s s 3"]:
    """A shadow across the whole scene, exposure, blur and noise; colours of [0, 1] to bytes."""
    size = picture.shape[-1]
    u = jax.random.uniform(key, (8,))

    x, y = pixel_grid(size)
    angle = 2 * jnp.pi * u[0]
    edge = (x - size * u[1]) * jnp.cos(angle) + (y - size * u[2]) * jnp.sin(angle)
    darkness = jnp.maximum(1.2 * u[3] - 0.75, 0.0)
    exposure = 0.8 + 0.4 * u[4]
    picture = picture * exposure * (1.0 - darkness * jnp.clip(0.5 + 0.2 * edge, 0.0, 1.0))

    # A blur by a pixel's two neighbours, along each axis in turn.
    side = 0.3 * u[5] ** 2
    for axis in (-2, -1):
        pad = [(0, 0)] * 3
        pad[axis] = (1, 1)
        wide = jnp.pad(picture, pad, mode="edge")
        before = jax.lax.slice_in_dim(wide, 0, size, axis=axis)
        after = jax.lax.slice_in_dim(wide, 2, size + 2, axis=axis)
        picture = picture + side * (before + after - 2.0 * picture)

    # Four bytes of one random word make three channels' noise and a common part.
    word = jax.random.bits(noise_key, (size, size), jnp.uint32)
    grain = [((word >> shift) & 255).astype(jnp.float32) / 127.5 - 1.0 for shift in (0, 8, 16, 24)]
    strength = 0.005 + 0.05 * u[6] ** 3
    noisy = picture + strength * (jnp.stack(grain[:3]) + grain[3])
    return jnp.round(jnp.clip(noisy, 0.0, 1.0) * 255.0).astype(jnp.uint8).transpose(1, 2, 0)


@functools.partial(jax.jit, static_argnames="size")
def _chunk(seed: Array, first: Array, size: int) -> Figure:
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), first + jnp.arange(CHUNK))
    return jax.vmap(lambda key: render(key, size))(keys)


def figures(seed: int, count: int, size: int, start: int = 0) -> PoseSet:
    """Synthetic people `start` to `start + count - 1` of a seed, as NumPy arrays.

    Figure i depends on the seed and i only, so that ranges of one seed that don't overlap are disjoint sets.

    Raises:
        UserError: a count below 1, a size below 8, or a negative start or seed.
    """
    for name, value, least in (
        ("seed", seed, 0),
        ("count", count, 1),
        ("size", size, 8),
        ("start", start, 0),
    ):
        if value < least:
            raise UserError(f"synthetic figures: {name} is {value}, must be at least {least}")
    canvases = np.empty((count, size, size, 3), np.uint8)
    joints = np.empty((count, 14, 2), np.float32)
    labelled = np.empty((count, 14), bool)
    for first in range(start - start % CHUNK, start + count, CHUNK):
        chunk = jax.device_get(_chunk(seed, first, size))
        skip, stop = max(start - first, 0), min(start + count - first, CHUNK)
        rows = slice(first + skip - start, first + stop - start)
        canvases[rows], joints[rows], labelled[rows] = (leaf[skip:stop] for leaf in chunk)
    whole = np.array(whole_image(size, size), np.float32)
    identity = np.eye(2, 3, dtype=np.float32)
    return PoseSet(
        canvases=canvases,
        joints=joints,
        labelled=labelled,
        boxes=np.tile(whole, (count, 1)),
        to_image=np.tile(identity, (count, 1, 1)),
    )
