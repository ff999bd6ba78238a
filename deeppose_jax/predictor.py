"""Applies a stage to a pose set: poses and losses, and joints in the original images' pixels."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float

from deeppose_jax.cascade import StagePoses, first_stage, refine
from deeppose_jax.config import CascadeConfig, PoseConfig, StageConfig
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.refiner_boxes import to_frame
from deeppose_jax.skeleton import Skeleton
from deeppose_jax.stages import as_stage
from engine_jax import sharding
from engine_jax.batches import Batches
from engine_jax.state import Variables


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
    variables: Variables,
    batch: PoseSet,
    previous: StagePoses | None,
    *,
    graphdef: nnx.GraphDef,
    stage: StageConfig,
    config: CascadeConfig,
    skeleton: Skeleton,
    mesh: Mesh,
) -> tuple[StagePoses, Float[Array, " b"]]:
    """A stage's poses, and the network's own loss on each image, as in training; `previous` is None for stage 1."""
    model = nnx.merge(graphdef, variables.params, variables.model_state)
    network = as_stage(model, stage, mesh)
    inputs = batch.canvases, batch.boxes
    if previous is None:
        poses, estimate = first_stage(network, *inputs, config, skeleton)
    else:
        poses, estimate = refine(network, *inputs, previous, config, skeleton)
    boxes = jnp.broadcast_to(poses.boxes, (*poses.joints.shape[:2], 4))
    return poses, network.loss(estimate, to_frame(batch.joints, boxes), batch.labelled)


class Predictor:
    """Applies a stage's evaluation step to pose sets of any size, in padded batches divided among the devices.

    Args:
        graphdef: the stage's network in its evaluation form.
        stage: which stage.
        settings: of the run.
        skeleton: what the joints are.
        mesh: the devices, along "data" and "joint".
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        stage: StageConfig,
        settings: PoseConfig,
        skeleton: Skeleton,
        mesh: Mesh,
    ):
        step = partial(
            eval_step,
            graphdef=graphdef,
            stage=stage,
            config=settings.cascade,
            skeleton=skeleton,
            mesh=mesh,
        )
        self._step = jax.jit(step, out_shardings=sharding.replicated(mesh))
        self._batch_size = settings.evaluation.batch_size
        self._batches = sharding.split(mesh, over=("data",))

    def batches(self, poses: PoseSet, previous: StagePoses | None = None) -> Batches:
        """A pose set, with the poses of the stage before, in the batches that are predicted for."""
        return Batches((poses, previous), self._batch_size, self._batches)

    def __call__(
        self,
        variables: Variables,
        poses: PoseSet,
        previous: StagePoses | None = None,
        batches: Batches | None = None,
    ) -> Predictions:
        """The predictions for a pose set; `batches` are its `self.batches`, where it is used several times."""

        def step(batch: tuple[PoseSet, StagePoses | None]) -> tuple[StagePoses, Array]:
            return self._step(variables, *batch)

        stage, losses = (batches or self.batches(poses, previous)).map(step)
        joints = to_image_pixels(stage.joints, poses)
        return Predictions(joints, losses.astype(np.float64), stage)


def to_image_pixels(
    joints: Float[np.ndarray, "n k 2"], poses: PoseSet
) -> Float[np.ndarray, "n k 2"]:
    """Joints in canvas pixels to the original images' pixels, in float64."""
    return map_to_image(joints, poses.to_image)


def map_to_image(
    joints: Float[np.ndarray, "n k 2"], to_image: Float[Any, "n 2 3"]
) -> Float[np.ndarray, "n k 2"]:
    """Joints in canvas pixels to the original images' pixels, by the maps from one to the other; in float64."""
    maps, joints = np.asarray(to_image, np.float64), np.asarray(joints, np.float64)
    return np.einsum("nij,nkj->nki", maps[..., :2], joints) + maps[:, None, :, 2]
