"""One optimiser step: of stage 1, of refiners that share a trunk, of a refiner for each joint.

Random numbers depend on a key and the state's step only, so that a resumed run draws the same ones.
"""

from typing import Any

import jax
import optax
from flax import nnx
from flax.nnx import filterlib
from jax.sharding import Mesh
from jaxtyping import Array, Float

from deeppose_jax.augment import augmented_samples, refiner_samples
from deeppose_jax.config import PoseConfig
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.displacements import Displacements, ObservedDisplacements
from deeppose_jax.refiners import SharedRefiner, over_joints
from deeppose_jax.skeleton import Skeleton
from engine_jax.state import TrainState


def train_step(
    state: TrainState,
    batch: PoseSet,
    *,
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    settings: PoseConfig,
    skeleton: Skeleton,
    key: jax.Array,
    trained: filterlib.Filter = nnx.Param,
) -> tuple[TrainState, Float[Array, ""]]:
    """Stage 1's step on one batch; returns the new state and the loss (DeepPose, equation 4).

    `trained` selects the variables that the state's `params` are.
    """
    augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
    inputs, targets, labelled = augmented_samples(
        augment_key, batch, settings.model.input_size, settings.augment, skeleton, settings.border
    )

    def loss_of(params: Any) -> tuple[jax.Array, Any]:
        # copy=True: batch norm writes its statistics, which it may not do to the arrays of an outer trace.
        model = nnx.merge(graphdef, params, state.model_state, copy=True)
        estimate = model(inputs, nnx.Rngs(dropout=dropout_key))
        return model.loss(estimate, targets, labelled).mean(), nnx.state(model, nnx.Not(trained))

    (loss, model_state), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    return state.apply_gradients(optimizer, grads, model_state), loss


def shared_refiner_step(
    state: TrainState,
    batch: PoseSet,
    *,
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    settings: PoseConfig,
    skeleton: Skeleton,
    key: jax.Array,
    displacements: Displacements | ObservedDisplacements,
) -> tuple[TrainState, Float[Array, ""]]:
    """A shared refiner's step, on crops around simulated predictions (DeepPose, equation 8)."""
    samples_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
    refiner = settings.refiner
    samples = refiner_samples(
        samples_key,
        batch,
        refiner.model.input_size,
        settings.augment,
        skeleton,
        displacements,
        sigma=refiner.sigma,
        joints_per_image=refiner.joints_per_image,
        border=settings.border,
    )

    def loss_of(params: Any) -> tuple[jax.Array, Any]:
        model = nnx.merge(graphdef, params, state.model_state, copy=True)
        shared = SharedRefiner(model)
        estimate = shared(samples.inputs, samples.joints, nnx.Rngs(dropout=dropout_key))
        losses = shared.loss(estimate, samples.targets, samples.labelled)
        return losses.mean(), nnx.state(model, nnx.Not(nnx.Param))

    (loss, model_state), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    return state.apply_gradients(optimizer, grads, model_state), loss


def joint_refiners_step(
    state: TrainState,
    batch: PoseSet,
    *,
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    settings: PoseConfig,
    skeleton: Skeleton,
    key: jax.Array,
    displacements: Displacements | ObservedDisplacements,
    mesh: Mesh | None = None,
) -> tuple[TrainState, Float[Array, ""]]:
    """One step of every joint's refiner: as many trainings side by side as joints, each with its own optimiser state.

    `graphdef` is that of one joint's network; the state's arrays, except its step, have a leading joint axis.
    """
    samples_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
    refiner = settings.refiner
    samples = refiner_samples(
        samples_key,
        batch,
        refiner.model.input_size,
        settings.augment,
        skeleton,
        displacements,
        sigma=refiner.sigma,
        joints_per_image=refiner.joints_per_image,
        border=settings.border,
    )

    def joint_step(
        variables: tuple[Any, Any, Any],
        inputs: jax.Array,
        targets: jax.Array,
        labelled: jax.Array,
        dropout_key: jax.Array,
    ) -> tuple[tuple[Any, Any, Any], jax.Array]:
        params, model_state, opt_state = variables

        def loss_of(params: Any) -> tuple[jax.Array, Any]:
            model = nnx.merge(graphdef, params, model_state, copy=True)
            estimate = model(inputs, nnx.Rngs(dropout=dropout_key))
            losses = model.loss(estimate, targets[:, None], labelled[:, None])
            return losses.mean(), nnx.state(model, nnx.Not(nnx.Param))

        (loss, new_model_state), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), new_model_state, opt_state), loss

    by_joint = jax.tree.map(
        lambda values: values.swapaxes(0, 1), (samples.inputs, samples.targets, samples.labelled)
    )
    variables, losses = over_joints(
        joint_step,
        (state.params, state.model_state, state.opt_state),
        *by_joint,
        jax.random.split(dropout_key, skeleton.num_joints),
        mesh=mesh,
    )
    return TrainState(state.step + 1, *variables), losses.sum()
