"""Training samples, inside jit: random geometry, crops, random pixels, normalisation."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from convnets_jax.imagenet import normalise
from deeppose_jax import affine, codec
from deeppose_jax.boxes import centre_and_size, mapped
from deeppose_jax.config import AugmentConfig
from deeppose_jax.crops import Border, crop_boxes
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.displacements import Displacements, ObservedDisplacements, simulate
from deeppose_jax.refiner_boxes import refiner_boxes, smallest_diam, to_frame
from deeppose_jax.skeleton import Skeleton
from engine_jax.blur import gaussian_blur


def augmented_samples(
    key: jax.Array,
    batch: PoseSet,
    size: int,
    augment: AugmentConfig,
    skeleton: Skeleton,
    border: Border = "mean",
) -> tuple[Float[Array, "n size size 3"], Float[Array, "n k 2"], Bool[Array, "n k"]]:
    """Stage 1's training samples, randomly augmented.

    Args:
        key: of all random draws.
        batch: n images.
        size: side of the inputs in pixels.
        augment: the random changes.
        skeleton: what the joints are.
        border: see `crop_boxes`.

    Returns:
        inputs: the network's inputs.
        targets: the joints in the boxes' frames, N(y; b).
        labelled: which joints are known.
    """
    geometry, pixels = jax.random.split(key)
    maps, flipped = random_maps(geometry, batch.boxes, augment)
    moved = move_joints(batch, maps, flipped, skeleton)
    crop = partial(_rotated_crops if augment.rotation else moved_crops, border=border)
    images = crop(batch.canvases, batch.boxes[:, None], maps, flipped, size)[:, 0]
    images = random_pixels(pixels, images, augment)
    return normalise(images), codec.encode(moved.joints, moved.boxes), moved.labelled


class RefinerSamples(NamedTuple):
    """A refiner's training samples, m crops of each of n images.

    Attributes:
        inputs: the crops.
        targets: each crop's joint in the crop's frame.
        labelled: whether that joint is known.
        joints: its index.
    """

    inputs: Float[Array, "n m s s 3"]
    targets: Float[Array, "n m 2"]
    labelled: Bool[Array, "n m"]
    joints: Int[Array, "n m"]


def refiner_samples(
    key: jax.Array,
    batch: PoseSet,
    size: int,
    augment: AugmentConfig,
    skeleton: Skeleton,
    displacements: Displacements | ObservedDisplacements,
    *,
    sigma: float,
    joints_per_image: int = 0,
    border: Border = "mean",
) -> RefinerSamples:
    """Crops around simulated predictions of the previous stage, of augmented images (DeepPose, section 3.2).

    A joint's box follows the joint, and its size the torso's, so that neither translation nor scale would change what a
    crop shows: both are left out.

    Args:
        key: of all random draws.
        batch: n images.
        size: side of the crops in pixels.
        augment: the random changes.
        skeleton: what the joints are.
        displacements: of the previous stage's predictions from the true joints.
        sigma: side of a joint's box, in units of diam.
        joints_per_image: m, crops of each image, around joints drawn at random; 0 is one for each joint.
        border: see `crop_boxes`.
    """
    augment = replace(augment, translation=0.0, scale=0.0)
    geometry, draw, choice, pixels = jax.random.split(key, 4)
    maps, flipped = random_maps(geometry, batch.boxes, augment)
    moved = move_joints(batch, maps, flipped, skeleton)
    floor = smallest_diam(batch.boxes)
    centres, diams = simulate(
        draw, moved.joints, moved.labelled, displacements, skeleton, floor, flipped
    )
    regions = refiner_boxes(centres, diams, sigma)
    targets = to_frame(moved.joints, regions)
    joints = _some_joints(choice, moved.labelled, joints_per_image)
    rows = jnp.arange(len(batch))[:, None]

    crop = partial(_rotated_crops if augment.rotation else moved_crops, border=border)
    crops = crop(batch.canvases, regions[rows, joints], maps, flipped, size)
    changed = random_pixels(pixels, crops.reshape(-1, *crops.shape[2:]), augment)
    return RefinerSamples(
        inputs=normalise(changed).reshape(crops.shape),
        targets=targets[rows, joints],
        labelled=moved.labelled[rows, joints],
        joints=joints,
    )


def moved_crops(
    canvases: UInt8[Array, "n c c 3"] | Float[Array, "n c c 3"],
    boxes: Float[Array, "n m 4"],
    maps: Float[Array, "n 2 3"],
    flipped: Bool[Array, " n"],
    size: int,
    border: Border = "mean",
) -> Float[Array, "n m size size 3"]:
    """Crops, in [0, 1], of canvases moved by maps that don't rotate.

    The boxes are moved back instead, so that the canvases are resampled only once; a mirrored canvas's crop is the
    mirror image of the crop.

    Args:
        canvases: before they are moved.
        boxes: on the moved canvases.
        maps: from canvases to moved canvases.
        flipped: which maps mirror left and right.
        size: side of the crops in pixels.
        border: see `crop_boxes`.
    """
    crops = crop_boxes(canvases, mapped(boxes, affine.invert(maps)), size, border=border)
    return jnp.where(flipped[:, None, None, None, None], crops[..., ::-1, :], crops)


def _rotated_crops(
    canvases: UInt8[Array, "n c c 3"] | Float[Array, "n c c 3"],
    boxes: Float[Array, "n m 4"],
    maps: Float[Array, "n 2 3"],
    flipped: Bool[Array, " n"],
    size: int,
    border: Border = "mean",
) -> Float[Array, "n m size size 3"]:
    """As `moved_crops`, for any similarities."""
    del flipped
    return crop_boxes(canvases, boxes, size, maps=affine.invert(maps), border=border)


def _some_joints(key: jax.Array, labelled: Bool[Array, "n k"], count: int) -> Int[Array, "n m"]:
    """`count` joints of each image at random, labelled ones first; 0 is all joints in their order."""
    n, k = labelled.shape
    if count in (0, k):
        return jnp.broadcast_to(jnp.arange(k), (n, k))
    return jnp.argsort(jax.random.uniform(key, (n, k)) + ~labelled, axis=1)[:, :count]


def random_maps(
    key: jax.Array, boxes: Float[Array, "n 4"], augment: AugmentConfig
) -> tuple[Float[Array, "n 2 3"], Bool[Array, " n"]]:
    """Random similarities about the boxes' centres, and which of them mirror."""
    n = boxes.shape[0]
    centre, extent = centre_and_size(boxes)
    rotation, scale, shift, flip = jax.random.split(key, 4)
    angle = jnp.deg2rad(augment.rotation) * jax.random.uniform(rotation, (n,), minval=-1)
    zoom = jnp.exp2(augment.scale * jax.random.uniform(scale, (n,), minval=-1))
    moved = augment.translation * jax.random.uniform(shift, (n, 2), minval=-1) * extent
    flipped = jax.random.bernoulli(flip, 0.5, (n,)) & augment.flip
    cos, sin = zoom * jnp.cos(angle), zoom * jnp.sin(angle)
    mirror = jnp.where(flipped, -1.0, 1.0)
    across = jnp.stack([mirror * cos, -sin], -1)  # [n, 2]
    down = jnp.stack([mirror * sin, cos], -1)
    linear = jnp.stack([across, down], 1)  # [n, 2, 2]
    # No matrix product, which would round coordinates to bfloat16 on a TPU.
    offset = centre + moved - (linear * centre[:, None]).sum(-1)
    return jnp.concatenate([linear, offset[..., None]], -1), flipped


def move_joints(
    batch: PoseSet, maps: Float[Array, "n 2 3"], flipped: Bool[Array, " n"], skeleton: Skeleton
) -> PoseSet:
    """The batch with its joints moved by `maps`; in mirrored images left joints become right ones."""
    swap = np.asarray(skeleton.swap)
    joints = affine.apply(maps, batch.joints)
    return replace(
        batch,
        joints=jnp.where(flipped[:, None, None], joints[:, swap], joints),
        labelled=jnp.where(flipped[:, None], batch.labelled[:, swap], batch.labelled),
    )


def random_pixels(
    key: jax.Array, images: Float[Array, "n s s 3"], augment: AugmentConfig
) -> Float[Array, "n s s 3"]:
    """Random brightness, contrast, blur and noise of images in [0, 1]."""
    n = images.shape[0]
    keys = jax.random.split(key, 5)
    if augment.contrast:
        factor = jnp.exp2(augment.contrast * jax.random.uniform(keys[0], (n, 1, 1, 1), minval=-1))
        mean = images.mean((1, 2, 3), keepdims=True)
        images = (images - mean) * factor + mean
    if augment.brightness:
        images = images + augment.brightness * jax.random.uniform(keys[1], (n, 1, 1, 1), minval=-1)
    if augment.blur:
        images = gaussian_blur(
            images, augment.blur * jax.random.uniform(keys[2], (n,)), augment.blur
        )
    if augment.noise:
        deviation = augment.noise * jax.random.uniform(keys[3], (n, 1, 1, 1))
        images = images + deviation * jax.random.normal(keys[4], images.shape)
    return jnp.clip(images, 0, 1)
