"""A stage applied to a pose set, batch by batch: joints in the original images' pixels."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float

from deeppose_jax.boxes import centre_and_size
from deeppose_jax.cascade import StagePoses, as_stage, first_stage, refine
from deeppose_jax.config import PoseConfig
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.heads import Estimate
from deeppose_jax.refiner_boxes import to_frame
from deeppose_jax.skeleton import Skeleton
from engine_jax import sharding
from engine_jax.order import padded_batches
from engine_jax.state import TrainState


@dataclass(frozen=True)
class Predictions:
    """A stage's predictions for n images.

    Attributes:
        joints: in the original images' pixels, float64.
        losses: the training loss of each image.
        stage: the same joints in canvas pixels, with their scales and boxes; the next stage's input.
    """

    joints: Float[np.ndarray, "n k 2"]
    losses: Float[np.ndarray, " n"]
    stage: StagePoses


def eval_step(
    params: Any,
    model_state: Any,
    batch: PoseSet,
    previous: StagePoses | None,
    *,
    graphdef: nnx.GraphDef,
    number: int,
    settings: PoseConfig,
    skeleton: Skeleton,
    mesh: Mesh,
) -> tuple[StagePoses, Float[Array, " b"]]:
    """The poses of stage `number`, and each image's training loss; `previous` is None for stage 1."""
    network = as_stage(nnx.merge(graphdef, params, model_state), settings, number, mesh)
    canvases, config = batch.canvases, settings.cascade
    if previous is None:
        poses = first_stage(network, canvases, batch.boxes, config, skeleton)
    else:
        poses = refine(network, canvases, batch.boxes, previous, config, skeleton)
    boxes = jnp.broadcast_to(poses.boxes, (*poses.joints.shape[:2], 4))
    estimate = Estimate(
        to_frame(poses.joints, boxes),
        None if poses.scales is None else poses.scales / centre_and_size(boxes)[1].mean(-1),
    )
    return poses, network.loss(estimate, to_frame(batch.joints, boxes), batch.labelled)


class Predictor:
    """Runs a stage's evaluation step over pose sets of any size, in padded batches split over the devices.

    Args:
        graphdef: the stage's network in its evaluation form.
        number: of the stage.
        settings: of the run.
        skeleton: what the joints are.
        mesh: the devices, along "data" and "joint".
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        number: int,
        settings: PoseConfig,
        skeleton: Skeleton,
        mesh: Mesh,
    ):
        self._batch_size = settings.evaluation.batch_size
        self._batches = sharding.split(mesh, over=("data",))
        step = partial(
            eval_step,
            graphdef=graphdef,
            number=number,
            settings=settings,
            skeleton=skeleton,
            mesh=mesh,
        )
        self._step = jax.jit(step, out_shardings=sharding.replicated(mesh))

    def __call__(
        self, state: TrainState, poses: PoseSet, previous: StagePoses | None = None
    ) -> Predictions:
        outputs = []
        for indices, valid in zip(*padded_batches(len(poses), self._batch_size), strict=True):
            batch = jax.tree.map(lambda array, at=indices: array[at], (poses, previous))
            found = self._step(
                state.params, state.model_state, *sharding.place(batch, self._batches)
            )
            found = jax.device_get(found)
            outputs.append(jax.tree.map(lambda array, count=valid: array[:count], found))
        stage, losses = jax.tree.map(lambda *parts: np.concatenate(parts), *outputs)
        return Predictions(to_image_pixels(stage.joints, poses), losses.astype(np.float64), stage)


def to_image_pixels(
    joints: Float[np.ndarray, "n k 2"], poses: PoseSet
) -> Float[np.ndarray, "n k 2"]:
    """Joints in canvas pixels to the original images' pixels, in float64."""
    maps = np.asarray(poses.to_image, np.float64)
    return (
        np.einsum("nij,nkj->nki", maps[..., :2], np.asarray(joints, np.float64))
        + maps[:, None, :, 2]
    )
