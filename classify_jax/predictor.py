"""A network applied to images of any number, batch by batch: probabilities, averaged over views."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, UInt8

from classify_jax.losses import cross_entropy
from classify_jax.views import View, as_values, crop
from convnets_jax.imagenet import normalise
from engine_jax import sharding
from engine_jax.order import padded_batches


class Outputs(NamedTuple):
    """What a network says about n images.

    Attributes:
        probabilities: of each class.
        losses: cross-entropies, weighted by class.
    """

    probabilities: Float[Any, "n k"]
    losses: Float[Any, " n"]


def predict_step(
    params: Any,
    model_state: Any,
    images: UInt8[Array, "b c c 3"],
    labels: Int[Array, " b"],
    top: Int[Array, ""],
    left: Int[Array, ""],
    mirrored: Bool[Array, ""],
    *,
    graphdef: nnx.GraphDef,
    size: int,
    weights: Float[np.ndarray, " k"],
) -> Outputs:
    """One view of each image of a batch. The view is an argument, so that all views are one program."""
    tops, lefts, flips = (jnp.full(images.shape[0], value) for value in (top, left, mirrored))
    inputs = normalise(as_values(crop(images, tops, lefts, flips, size)))
    logits = nnx.merge(graphdef, params, model_state)(inputs)
    return Outputs(jax.nn.softmax(logits), cross_entropy(logits, labels, weights))


class Predictor:
    """Runs a network over images of any number, in padded batches split over the devices.

    Args:
        graphdef: the network in its evaluation form.
        size: of its input, in pixels.
        weights: of the classes in the loss.
        batch_size: images a call.
        mesh: the devices.
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        size: int,
        weights: Float[np.ndarray, " k"],
        batch_size: int,
        mesh: Mesh,
    ):
        self._batch_size = batch_size
        self._batches = sharding.split(mesh)
        step = partial(predict_step, graphdef=graphdef, size=size, weights=weights)
        self._step = jax.jit(step, out_shardings=sharding.replicated(mesh))

    def __call__(
        self,
        params: Any,
        model_state: Any,
        images: UInt8[np.ndarray, "n c c 3"],
        labels: Int[np.ndarray, " n"],
        views: Sequence[View],
    ) -> Outputs:
        """Probabilities, the mean over the views, and losses, likewise."""
        parts = []
        for indices, valid in zip(*padded_batches(len(images), self._batch_size), strict=True):
            batch = sharding.place((images[indices], labels[indices]), self._batches)
            found = [jax.device_get(self._step(params, model_state, *batch, *v)) for v in views]
            parts.append(Outputs(*(np.mean(each, 0)[:valid] for each in zip(*found, strict=True))))
        return Outputs(*(np.concatenate(each) for each in zip(*parts, strict=True)))
