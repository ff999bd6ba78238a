"""One optimiser step.

Randomness is a function of a key and the state's step, so that a resumed run repeats it.
"""

from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from flax import nnx
from flax.nnx import filterlib
from jaxtyping import Array, Float, Int, UInt8

from classify_jax.augment import augment
from classify_jax.config import ClassificationConfig
from classify_jax.losses import training_loss
from classify_jax.networks import all_logits
from convnets_jax.imagenet import normalise
from engine_jax.state import TrainState


class Batch(NamedTuple):
    """Images as they are kept, and the indices of their classes."""

    images: UInt8[Any, "b c c 3"]
    labels: Int[Any, " b"]


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    trained: filterlib.Filter,
    settings: ClassificationConfig,
    weights: Float[np.ndarray, " k"],
    components: Float[np.ndarray, "3 3"],
    key: jax.Array,
) -> tuple[TrainState, Float[Array, ""]]:
    """A step on one batch; returns the new state and the loss.

    Args:
        trained: which variables the state's `params` are.
        weights: of the classes in the loss.
        components: of the training images' colours, see `classify_jax.augment`.
    """
    augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
    size = settings.model.input_size
    inputs = normalise(augment(augment_key, batch.images, size, components, settings.augment))

    def loss_of(params: Any) -> tuple[jax.Array, Any]:
        # copy=True: batch norm writes its statistics, which it may not do to the arrays of an outer trace.
        model = nnx.merge(graphdef, params, state.model_state, copy=True)
        outputs = all_logits(model, inputs, nnx.Rngs(dropout=dropout_key))
        loss = training_loss(outputs, batch.labels, weights).mean()
        return loss, nnx.state(model, nnx.Not(trained))

    (loss, model_state), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    return state.apply_gradients(optimizer, grads, model_state), loss
