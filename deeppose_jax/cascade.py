"""DeepPose's cascade: stage 1 on the whole box, then refiners on crops around each joint (section 3.2)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from convnets_jax.imagenet import normalise
from deeppose_jax import codec
from deeppose_jax.boxes import centre_and_size, whole_image
from deeppose_jax.config import CascadeConfig
from deeppose_jax.crops import crop_boxes
from deeppose_jax.heads import Estimate, mirror
from deeppose_jax.refiner_boxes import boxes_around, from_frame
from deeppose_jax.skeleton import Skeleton


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class StagePoses:
    """One stage's predictions for n images.

    Attributes:
        joints: in canvas pixels.
        scales: the expected absolute error of either coordinate, in canvas pixels, on images like those of training
            (`scale_factors` makes it that on others); None from heads that predict none.
        boxes: (x0, y0, x1, y1) in canvas pixels, the stage's input: one box for all joints, or one for each.
    """

    joints: Float[Any, "n k 2"]
    scales: Float[Any, "n k"] | None
    boxes: Float[Any, "n #k 4"]


class Cascade(nnx.Module):
    """Stage 1 and its refiners. `predict` goes from images to joints through all of them.

    Args:
        stages: stage 1, a function from normalised crops [n, s, s, 3] to Estimates [n, k]; then the refiners,
            functions from crops [n, k, t, t, 3] to Estimates [n, k].
        config: sizes of the crops, and how predictions are made of the stages' estimates.
        skeleton: what the joints are.
    """

    def __init__(
        self,
        stages: Sequence[Callable[[Any], Estimate]],
        config: CascadeConfig,
        skeleton: Skeleton,
    ):
        self.stages = nnx.List(stages)
        self.config = config
        self.skeleton = skeleton

    def predict(
        self,
        canvases: UInt8[Array, "n c c 3"] | Float[Array, "n c c 3"],
        boxes: Float[Array, "n 4"] | None = None,
    ) -> list[StagePoses]:
        """Every stage's poses, in one jitted call.

        Args:
            canvases: square images, uint8, or float in [0, 1].
            boxes: b^0, (x0, y0, x1, y1) of the person in canvas pixels; by default the whole canvas.
        """
        return self.predictor()(canvases, boxes)

    def predictor(self) -> Callable[..., list[StagePoses]]:
        """`predict` for many calls, which takes the variables out of the cascade once."""
        graphdef, variables = nnx.split(self)
        leaves, tree = jax.tree.flatten(variables)
        structure = _Structure(graphdef, tree)

        def predict(canvases: Any, boxes: Any = None) -> list[StagePoses]:
            canvases = jnp.asarray(canvases)
            if boxes is None:
                n, c = canvases.shape[:2]
                boxes = jnp.broadcast_to(jnp.array(whole_image(c, c)), (n, 4))
            return _predict(structure, leaves, canvases, jnp.asarray(boxes, jnp.float32))

        return predict


class _Structure:
    """A cascade without its arrays. Its hash, for which all of it is walked through, is computed once."""

    def __init__(self, graphdef: nnx.GraphDef, tree: Any):
        self.graphdef, self.tree = graphdef, tree
        self._hash = hash((graphdef, tree))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other or not isinstance(other, _Structure):
            return self is other
        return (self.graphdef, self.tree) == (other.graphdef, other.tree)


@partial(jax.jit, static_argnums=0)
def _predict(
    structure: _Structure, leaves: list[jax.Array], canvases: jax.Array, boxes: jax.Array
) -> list[StagePoses]:
    cascade = nnx.merge(structure.graphdef, structure.tree.unflatten(leaves))
    first, *refiners = cascade.stages
    config, skeleton = cascade.config, cascade.skeleton
    poses = [first_stage(first, canvases, boxes, config, skeleton)[0]]
    for refiner in refiners:
        poses.append(refine(refiner, canvases, boxes, poses[-1], config, skeleton)[0])
    return poses


def first_stage(
    network: Callable[[Any], Estimate],
    canvases: jax.Array,
    boxes: Float[Array, "n 4"],
    config: CascadeConfig,
    skeleton: Skeleton,
) -> tuple[StagePoses, Estimate]:
    """Stage 1: y^1 = N^-1(psi(N(x; b^0)); b^0) (DeepPose, equation 5), and the network's estimate in its frame."""
    crops = crop_boxes(canvases, boxes[:, None], config.input_size, border=config.border)[:, 0]
    inputs = normalise(crops)
    estimate = flip_tested(network, inputs, skeleton, config.flip_test)
    scales = None
    if estimate.scales is not None:
        scales = _to_pixels(estimate.scales, boxes[:, None])
    return StagePoses(codec.decode(estimate.joints, boxes), scales, boxes[:, None]), estimate


def refine(
    network: Callable[[Any], Estimate],
    canvases: jax.Array,
    boxes: Float[Array, "n 4"],
    previous: StagePoses,
    config: CascadeConfig,
    skeleton: Skeleton,
) -> tuple[StagePoses, Estimate]:
    """Stage s: y_i^s = y_i^{s-1} + N^-1(psi_i(N(x; b_i)); b_i) (DeepPose, equations 6 and 7), and the estimate itself,
    in the frames of the poses' boxes; `boxes` are b^0.
    """
    regions = boxes_around(previous.joints, boxes, config.sigma, skeleton)
    crops = crop_boxes(canvases, regions, config.refiner_size, border=config.border)
    inputs = normalise(crops)
    estimate = flip_tested(network, inputs, skeleton, config.flip_test)
    return combine_estimates(estimate, previous, regions, config.combine), estimate


def combine_estimates(
    estimate: Estimate,
    previous: StagePoses,
    boxes: Float[Array, "n k 4"],
    combine: Literal["replace", "weighted"],
) -> StagePoses:
    """The poses after a stage whose refiners estimated the joints in `boxes`.

    With "replace" they are the refiners' joints. With "weighted" these and the previous joints are two measurements
    with errors of their predicted scales: y^s is their mean with weights 1 / scale^2, its scale
    (sum 1 / scale^2)^(-1/2).
    """
    joints = from_frame(estimate.joints, boxes)
    if estimate.scales is None:
        return StagePoses(joints, None, boxes)
    scales = _to_pixels(estimate.scales, boxes)
    if combine == "weighted" and previous.scales is not None:
        old, new = previous.scales**-2, scales**-2
        share = (new / (old + new))[..., None]
        joints = previous.joints + share * (joints - previous.joints)
        scales = (old + new) ** -0.5
    return StagePoses(joints, scales, boxes)


def _to_pixels(scales: Float[Array, "n k"], boxes: Float[Array, "n #k 4"]) -> Float[Array, "n k"]:
    """Scales in the boxes' frames to pixels."""
    return scales * centre_and_size(boxes)[1].mean(-1)


def flip_tested(
    network: Callable[[Any], Estimate],
    inputs: Float[Array, "n s s 3"] | Float[Array, "n k s s 3"],
    skeleton: Skeleton,
    flip_test: bool,
) -> Estimate:
    """The network's estimate, averaged with that of the mirrored input if `flip_test`."""
    estimate = network(inputs)
    if not flip_test:
        return estimate
    mirrored = inputs[..., ::-1, :]
    if inputs.ndim == 5:  # The mirror image's left wrist is where the right one was.
        mirrored = mirrored[:, np.asarray(skeleton.swap)]
    back = mirror(network(mirrored), skeleton)
    return jax.tree.map(lambda a, b: (a + b) / 2, estimate, back)
