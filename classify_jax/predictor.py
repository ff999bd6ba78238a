"""Applies a network to images: probabilities and losses, averaged over views."""

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
from engine_jax.batches import map_batches
from engine_jax.state import Variables


class Outputs(NamedTuple):
    """A network's outputs for n images.

    Attributes:
        probabilities: of each class.
        losses: cross-entropies, weighted by class.
    """

    probabilities: Float[Any, "n k"]
    losses: Float[Any, " n"]


def predict_step(
    variables: Variables,
    images: UInt8[Array, "b c c 3"],
    labels: Int[Array, " b"],
    view: tuple[Int[Array, ""], Int[Array, ""], Bool[Array, ""]],
    *,
    graphdef: nnx.GraphDef,
    size: int,
    weights: Float[np.ndarray, " k"],
) -> Outputs:
    """One view of each image of a batch. The view is an argument, so that all views are one program."""
    tops, lefts, flips = (jnp.full(images.shape[0], value) for value in view)
    inputs = normalise(as_values(crop(images, tops, lefts, flips, size)))
    logits = nnx.merge(graphdef, variables.params, variables.model_state)(inputs)
    return Outputs(jax.nn.softmax(logits), cross_entropy(logits, labels, weights))


class Predictor:
    """Applies a network to images of any number, in padded batches divided among the devices.

    Args:
        graphdef: the network in its evaluation form.
        size: of its input, in pixels.
        weights: of the classes in the loss.
        mesh: the devices; None is one device.
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        size: int,
        weights: Float[np.ndarray, " k"],
        mesh: Mesh | None = None,
    ):
        step = partial(predict_step, graphdef=graphdef, size=size, weights=weights)
        everywhere = None if mesh is None else sharding.replicated(mesh)
        self._step = jax.jit(step, out_shardings=everywhere)
        self._batches = None if mesh is None else sharding.split(mesh)

    def __call__(
        self,
        variables: Variables,
        images: UInt8[np.ndarray, "n c c 3"],
        labels: Int[np.ndarray, " n"],
        views: Sequence[View],
        batch_size: int,
    ) -> Outputs:
        """Probabilities and losses, means over the views."""

        def mean_over_views(batch: tuple[Array, Array]) -> Outputs:
            found = [jax.device_get(self._step(variables, *batch, tuple(view))) for view in views]
            return Outputs(*(np.mean(each, 0) for each in zip(*found, strict=True)))

        return map_batches(mean_over_views, (images, labels), batch_size, self._batches)
