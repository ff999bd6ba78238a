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
from engine_jax import synthetic
from engine_jax.synthetic import chunk_keys, render_series

CHUNK = 16  # figures rendered in a call


class Figure(NamedTuple):
    """A picture of one person, with joints in pixels, in LSP's order, with left and right as the person's own."""

    image: UInt8[Array, "s s 3"]
    joints: Float[Array, "14 2"]
    labelled: Bool[Array, "14"]


def render(key: PRNGKeyArray, size: int) -> Figure:
    """Draws one person in a random pose, outfit, place and light.

    Args:
        key: a typed random key, which determines the figure.
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
    """Adds a shadow across the scene, exposure, blur and noise to colours of [0, 1], and converts them to bytes."""
    size = picture.shape[-1]
    u = jax.random.uniform(key, (8,))

    x, y = pixel_grid(size)
    angle = 2 * jnp.pi * u[0]
    edge = (x - size * u[1]) * jnp.cos(angle) + (y - size * u[2]) * jnp.sin(angle)
    darkness = jnp.maximum(1.2 * u[3] - 0.75, 0.0)
    exposure = 0.8 + 0.4 * u[4]
    picture = picture * exposure * (1.0 - darkness * jnp.clip(0.5 + 0.2 * edge, 0.0, 1.0))

    # Blur with each pixel's two neighbours, along each axis.
    side = 0.3 * u[5] ** 2
    for axis in (-2, -1):
        pad = [(0, 0)] * 3
        pad[axis] = (1, 1)
        wide = jnp.pad(picture, pad, mode="edge")
        before = jax.lax.slice_in_dim(wide, 0, size, axis=axis)
        after = jax.lax.slice_in_dim(wide, 2, size + 2, axis=axis)
        picture = picture + side * (before + after - 2.0 * picture)

    return synthetic.photograph(noise_key, picture, 0.005 + 0.05 * u[6] ** 3)


@functools.partial(jax.jit, static_argnames="size")
def _chunk(key: PRNGKeyArray, first: Array, size: int) -> Figure:
    return jax.vmap(lambda item: render(item, size))(chunk_keys(key, first, CHUNK))


def figures(seed: int, count: int, size: int, start: int = 0) -> PoseSet:
    """Synthetic people `start` to `start + count - 1` of a seed, as NumPy arrays.

    Figure i depends only on the seed and i, so that non-overlapping ranges of one seed are disjoint sets.

    Raises:
        UserError: a count below 1, a size below 8, or a negative start or seed.
    """
    series = render_series("synthetic figures", _chunk, CHUNK, seed, count, size, start)
    whole = np.array(whole_image(size, size), np.float32)
    identity = np.eye(2, 3, dtype=np.float32)
    return PoseSet(
        canvases=series.image,
        joints=series.joints,
        labelled=series.labelled,
        boxes=np.tile(whole, (count, 1)),
        to_image=np.tile(identity, (count, 1, 1)),
    )
