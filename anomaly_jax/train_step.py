"""One optimiser step of all members.

Randomness is a function of a key and the state's step, so that a resumed run repeats it.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float

from anomaly_jax.augment import augment
from anomaly_jax.config import AnomalyConfig
from anomaly_jax.detector import as_values, detector_losses
from anomaly_jax.faults import paint_faults
from anomaly_jax.folds import Batch, seen_by
from engine_jax.stacked import over_stack
from engine_jax.state import TrainState


class Samples(NamedTuple):
    """Training samples of one step.

    Attributes:
        inputs: the network's inputs, with painted faults.
        targets: the same images without them, which the autoencoder should reconstruct.
        faults: 1 where a painted fault changed the pixel, else 0.
    """

    inputs: Float[Array, "b s s 3"]
    targets: Float[Array, "b s s 3"]
    faults: Float[Array, "b s s"]


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    settings: AnomalyConfig,
    key: jax.Array,
) -> tuple[TrainState, Float[Array, ""]]:
    """Every member's step on one batch of good images; returns the new state and the mean of their losses.

    The state's arrays, but for its step, have a leading member axis; `optimizer` is one member's.
    """
    keys = jax.random.split(jax.random.fold_in(key, state.step), settings.members)

    def member_step(
        variables: tuple[Any, Any, Any], key: jax.Array, member: jax.Array
    ) -> tuple[tuple[Any, Any, Any], Float[Array, ""]]:
        params, model_state, opt_state = variables
        augment_key, faults_key = jax.random.split(key)
        good = augment(augment_key, as_values(seen_by(batch, member)), settings.augment)
        samples = painted(faults_key, good, settings)

        def loss_of(params: Any) -> tuple[jax.Array, Any]:
            # copy=True: batch norm writes its statistics, which it may not do to the arrays of an outer trace.
            model = nnx.merge(graphdef, params, model_state, copy=True)
            found = detector_losses(
                model(samples.inputs), samples.targets, samples.faults, settings.loss
            )
            return found.mean(), nnx.state(model, nnx.Not(nnx.Param))

        (loss, new_model_state), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), new_model_state, opt_state), loss

    variables = (state.params, state.model_state, state.opt_state)
    variables, losses = over_stack(member_step, variables, keys, jnp.arange(settings.members))
    return TrainState(state.step + 1, *variables), losses.mean()


def painted(key: jax.Array, good: Float[Array, "b s s 3"], settings: AnomalyConfig) -> Samples:
    """Good images, with painted faults if the method is trained on these."""
    if settings.method == "reconstruction":
        return Samples(good, good, jnp.zeros(good.shape[:3]))
    inputs, faults = paint_faults(key, good, settings.faults)
    return Samples(inputs, good, faults)
