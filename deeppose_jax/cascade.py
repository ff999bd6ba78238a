"""DeepPose's cascade: stage 1 on the whole box, then refiners on crops around each joint (section 3.2)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, UInt8

from deeppose_jax import codec
from deeppose_jax.augment import plain_inputs, refiner_inputs
from deeppose_jax.config import PoseConfig
from deeppose_jax.displacements import diam, from_frame, refiner_boxes, smallest_diam
from deeppose_jax.heads import Estimate, mirror
from deeppose_jax.refiners import JointRefiners, SharedRefiner, joint_networks
from deeppose_jax.regressor import Regressor
from deeppose_jax.skeleton import Skeleton


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class StagePoses:
    """What one stage says about n images.

    Attributes:
        joints: in canvas pixels.
        scales: the expected absolute error of either coordinate, in canvas pixels; None from heads that give none.
        boxes: (cx, cy, w, h) in canvas pixels, what it looked at: one box for all joints, or one for each.
    """

    joints: Float[Any, "n k 2"]
    scales: Float[Any, "n k"] | None
    boxes: Float[Any, "n #k 4"]


class Cascade(nnx.Module):
    """Stage 1 and its refiners. `predict` goes from images to joints through all of them.

    Args:
        stages: stage 1, a function from normalised crops [n, s, s, 3] to Estimates [n, k]; then the refiners,
            functions from crops [n, k, t, t, 3] to Estimates [n, k].
        settings: sizes, sigma, update and flip test.
        skeleton: what the joints are.
    """

    def __init__(
        self,
        stages: Sequence[Callable[[Any], Estimate]],
        settings: PoseConfig,
        skeleton: Skeleton,
    ):
        self.stages = nnx.List(stages)
        self.settings = settings
        self.skeleton = skeleton

    def predict(
        self,
        canvases: UInt8[Array, "n c c 3"] | Float[Array, "n c c 3"],
        boxes: Float[Array, "n 4"] | None = None,
    ) -> list[StagePoses]:
        """Every stage's poses, in one jitted call.

        Args:
            canvases: square images, uint8, or float in [0, 1].
            boxes: (cx, cy, w, h) of the person in canvas pixels, b^0; by default the whole canvas.
        """
        canvases = jnp.asarray(canvases)
        if boxes is None:
            n, c = canvases.shape[:2]
            boxes = jnp.broadcast_to(jnp.array([(c - 1) / 2, (c - 1) / 2, c, c]), (n, 4))
        graphdef, variables = nnx.split(self)
        return _predict(graphdef, variables, canvases, jnp.asarray(boxes, jnp.float32))


@partial(jax.jit, static_argnums=0)
def _predict(
    graphdef: nnx.GraphDef, variables: nnx.State, canvases: jax.Array, boxes: jax.Array
) -> list[StagePoses]:
    cascade = nnx.merge(graphdef, variables)
    found = []
    for network in cascade.stages:
        if not found:
            poses = look(network, canvases, boxes, cascade.settings, cascade.skeleton)
        else:
            poses = look_again(
                network, canvases, boxes, found[-1], cascade.settings, cascade.skeleton
            )
        found.append(poses)
    return found


def stage_network(
    settings: PoseConfig, skeleton: Skeleton, stage: int, *, rngs: nnx.Rngs
) -> Regressor:
    """The network that a configuration gives to a stage, counted from 1; "per_joint" refiners are `joint_networks`."""
    if stage == 1:
        return Regressor(settings.model, skeleton.num_joints, rngs=rngs)
    make = Regressor if settings.refiner.form == "shared" else joint_networks
    return make(settings.refiner.model, skeleton.num_joints, rngs=rngs)


def as_stage(
    network: Regressor, settings: PoseConfig, stage: int, mesh: Mesh | None = None
) -> Regressor | SharedRefiner | JointRefiners:
    """A stage's network as the function that `Cascade`, `look` and `look_again` take.

    Args:
        mesh: see `JointRefiners`.
    """
    if stage == 1:
        return network
    if settings.refiner.form == "shared":
        return SharedRefiner(network)
    return JointRefiners(network, mesh)


def look(
    network: Callable[[Any], Estimate],
    canvases: jax.Array,
    boxes: Float[Array, "n 4"],
    settings: PoseConfig,
    skeleton: Skeleton,
) -> StagePoses:
    """Stage 1: y^1 = N^-1(psi(N(x; b^0)); b^0) (DeepPose, equation 5)."""
    inputs = plain_inputs(canvases, boxes, settings.model.input_size)
    estimate = flip_tested(network, inputs, settings, skeleton)
    scales = None
    if estimate.scales is not None:
        scales = estimate.scales * boxes[:, None, 2:].mean(-1)
    return StagePoses(codec.decode(estimate.joints, boxes), scales, boxes[:, None])


def look_again(
    network: Callable[[Any], Estimate],
    canvases: jax.Array,
    boxes: Float[Array, "n 4"],
    previous: StagePoses,
    settings: PoseConfig,
    skeleton: Skeleton,
) -> StagePoses:
    """Stage s: y_i^s = y_i^{s-1} + N^-1(psi_i(N(x; b_i)); b_i) (DeepPose, equations 6 and 7).

    With `settings.refiner.combine` "weighted" the refiner's joint and the previous one are two measurements with errors
    of their predicted scales; y^s is their mean with weights 1 / scale^2, its scale (sum 1 / scale^2)^(-1/2).
    """
    regions = boxes_around(previous.joints, boxes, settings, skeleton)
    inputs = refiner_inputs(canvases, regions, settings.refiner.model.input_size)
    return updated(flip_tested(network, inputs, settings, skeleton), previous, regions, settings)


def updated(
    estimate: Estimate, previous: StagePoses, regions: Float[Array, "n k 4"], settings: PoseConfig
) -> StagePoses:
    """The poses after a stage whose refiners said `estimate` about the boxes `regions`."""
    joints = from_frame(estimate.joints, regions)
    if estimate.scales is None:
        return StagePoses(joints, None, regions)
    scales = estimate.scales * regions[..., 2:].mean(-1)
    if settings.refiner.combine == "weighted" and previous.scales is not None:
        old, new = previous.scales**-2, scales**-2
        share = (new / (old + new))[..., None]
        joints = previous.joints + share * (joints - previous.joints)
        scales = (old + new) ** -0.5
    return StagePoses(joints, scales, regions)


def boxes_around(
    joints: Float[Array, "n k 2"],
    boxes: Float[Array, "n 4"],
    settings: PoseConfig,
    skeleton: Skeleton,
) -> Float[Array, "n k 4"]:
    """What the next stage looks at: sigma diam(y) about each joint."""
    sizes = diam(joints, skeleton, smallest_diam(boxes))
    return refiner_boxes(joints, sizes[:, None], settings.refiner.sigma)


def flip_tested(
    network: Callable[[Any], Estimate],
    inputs: Float[Array, "n s s 3"] | Float[Array, "n k s s 3"],
    settings: PoseConfig,
    skeleton: Skeleton,
) -> Estimate:
    """The network's word; with `settings.evaluation.flip_test`, its mean with the word on the mirror image."""
    estimate = network(inputs)
    if not settings.evaluation.flip_test:
        return estimate
    mirrored = inputs[..., ::-1, :]
    if inputs.ndim == 5:  # The mirror image's left wrist is where the right one was.
        mirrored = mirrored[:, np.asarray(skeleton.swap)]
    back = mirror(network(mirrored), skeleton)
    return jax.tree.map(lambda a, b: (a + b) / 2, estimate, back)
