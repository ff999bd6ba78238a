"""A trained regressor applied to a pose set: joints in the original images' pixels."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float

from deeppose_jax import codec
from deeppose_jax.augment import plain_inputs
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.heads import head_loss
from engine_jax import sharding
from engine_jax.order import padded_batches
from engine_jax.state import TrainState


@dataclass(frozen=True)
class Predictions:
    """What a model says about n images.

    Attributes:
        joints: in the original images' pixels, float64.
        losses: the training loss of each image.
    """

    joints: Float[np.ndarray, "n k 2"]
    losses: Float[np.ndarray, " n"]


def eval_step(
    params: Any, model_state: Any, batch: PoseSet, *, graphdef: nnx.GraphDef, input_size: int
) -> tuple[Float[Array, "b k 2"], Float[Array, " b"]]:
    """Joints in canvas pixels, and each image's loss."""
    model = nnx.merge(graphdef, params, model_state)
    estimate = model(plain_inputs(batch, input_size))
    losses = head_loss(estimate, codec.encode(batch.joints, batch.boxes), batch.labelled)
    return codec.decode(estimate.joints, batch.boxes), losses


class Predictor:
    """Runs the evaluation step over pose sets of any size, in padded batches split over the devices.

    Args:
        graphdef: the model's evaluation form.
        input_size: side of its input in pixels.
        batch_size: images a call, over all devices.
        mesh: the devices.
    """

    def __init__(self, graphdef: nnx.GraphDef, input_size: int, batch_size: int, mesh: Mesh):
        self._batch_size = batch_size
        self._batches = sharding.split(mesh)
        self._step = jax.jit(
            partial(eval_step, graphdef=graphdef, input_size=input_size),
            out_shardings=sharding.replicated(mesh),
        )

    def __call__(self, state: TrainState, poses: PoseSet) -> Predictions:
        joints, losses = [], []
        for indices, valid in zip(*padded_batches(len(poses), self._batch_size), strict=True):
            batch = jax.tree.map(lambda array, at=indices: array[at], poses)
            outputs = self._step(
                state.params, state.model_state, sharding.place(batch, self._batches)
            )
            canvas_joints, batch_losses = jax.device_get(outputs)
            joints.append(canvas_joints[:valid])
            losses.append(batch_losses[:valid])
        return Predictions(
            to_image_pixels(np.concatenate(joints), poses),
            np.concatenate(losses).astype(np.float64),
        )


def to_image_pixels(
    joints: Float[np.ndarray, "n k 2"], poses: PoseSet
) -> Float[np.ndarray, "n k 2"]:
    """Joints in canvas pixels to the original images' pixels, in float64."""
    maps = np.asarray(poses.to_image, np.float64)
    return (
        np.einsum("nij,nkj->nki", maps[..., :2], np.asarray(joints, np.float64))
        + maps[:, None, :, 2]
    )
