"""Cross-fitting: every good image trains some members and is held out by another, which scores it for the thresholds.

Member j is trained on all good images but those of fold j. A threshold then comes from the scores of all good images,
each given by the member that never saw it, instead of from a few images that nobody was trained on.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from engine_jax.order import shuffled


class Batch(NamedTuple):
    """Good images for a training step.

    Attributes:
        images: RGB.
        folds: of the images; None where every member is trained on all of them.
    """

    images: UInt8[Any, "b s s 3"]
    folds: Int[Any, " b"] | None = None


def assign_folds(count: int, folds: int, seed: int) -> Int[np.ndarray, " count"]:
    """The fold of each image, from 0; folds differ by one image at most. The same ones on every machine."""
    assigned = np.empty(count, np.int32)
    assigned[shuffled(count, seed)] = np.arange(count) % folds
    return assigned


def seen_by(batch: Batch, member: Int[Array, ""]) -> UInt8[Any, "b s s 3"]:
    """The images of a batch that a member is trained on.

    The others' places are taken by copies of these, so that neither the loss nor batch statistics see an image that is
    held out. At least one image must be of another fold.
    """
    if batch.folds is None:
        return batch.images
    seen = batch.folds != member
    first = jnp.argsort(~seen)  # Stable: those that are seen, in order, then the others.
    return batch.images[first[jnp.arange(len(seen)) % seen.sum()]]


def of_held_out(values: Float[Array, "m b *s"], folds: Int[Array, " b"]) -> Float[Array, "b *s"]:
    """Of the members' values for b images, those of the member that holds an image out; their mean for a fold of -1."""
    own = values[jnp.maximum(folds, 0), jnp.arange(values.shape[1])]
    held_out = (folds >= 0).reshape(-1, *[1] * (values.ndim - 2))
    return jnp.where(held_out, own, values.mean(0))
