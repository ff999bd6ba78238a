"""From canvases to the networks' inputs: random geometry, crops, random pixels, normalisation; all inside jit."""

from dataclasses import replace
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from convnets_jax.imagenet import normalise
from deeppose_jax import affine, codec
from deeppose_jax.config import AugmentConfig, RefinerConfig
from deeppose_jax.crops import crop_boxes
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.displacements import (
    Displacements,
    ObservedDisplacements,
    refiner_boxes,
    simulate,
    smallest_diam,
    to_frame,
)
from deeppose_jax.skeleton import Skeleton


def crop(
    canvases: UInt8[Array, "n c c 3"] | Float[Array, "n c c 3"],
    boxes: Float[Array, "n 4"],
    maps: Float[Array, "n 2 3"],
    size: int,
) -> Float[Array, "n size size 3"]:
    """What the boxes show of the canvases after these have been moved by `maps`, in [0, 1]."""
    to_input = affine.compose(affine.box_to_pixels(boxes, size), maps)
    if canvases.dtype == jnp.uint8:
        canvases = canvases.astype(jnp.float32) / 255
    return affine.warp(canvases, affine.invert(to_input), size)


def identity_maps(count: int) -> Float[Array, "n 2 3"]:
    return jnp.broadcast_to(jnp.eye(2, 3), (count, 2, 3))


def plain_inputs(
    canvases: UInt8[Array, "n c c 3"] | Float[Array, "n c c 3"],
    boxes: Float[Array, "n 4"],
    size: int,
) -> Float[Array, "n size size 3"]:
    """Stage 1's input without augmentation: the crop N(x; b)."""
    return normalise(crop(canvases, boxes, identity_maps(len(canvases)), size))


def refiner_inputs(
    canvases: UInt8[Array, "n c c 3"] | Float[Array, "n c c 3"],
    boxes: Float[Array, "n k 4"],
    size: int,
) -> Float[Array, "n k size size 3"]:
    """A refiner's input without augmentation: the crops N(x; b_i)."""
    return normalise(crop_boxes(canvases, boxes, size))


def augmented_samples(
    key: jax.Array, batch: PoseSet, size: int, augment: AugmentConfig, skeleton: Skeleton
) -> tuple[Float[Array, "n size size 3"], Float[Array, "n k 2"], Bool[Array, "n k"]]:
    """Randomly changed training samples.

    Returns:
        inputs: the network's inputs.
        targets: the joints in the boxes' frames, N(y; b).
        labelled: which joints count.
    """
    geometry, pixels = jax.random.split(key)
    maps, flipped = random_maps(geometry, batch.boxes, augment)
    moved = move_joints(batch, maps, flipped, skeleton)
    images = crop(batch.canvases, batch.boxes, maps, size)
    images = random_pixels(pixels, images, augment)
    return normalise(images), codec.encode(moved.joints, moved.boxes), moved.labelled


class RefinerSamples(NamedTuple):
    """A refiner's training samples, m crops of each of n images.

    Attributes:
        inputs: the crops.
        targets: each crop's joint in the crop's frame.
        labelled: whether it is known.
        joints: which joint it is.
    """

    inputs: Float[Array, "n m s s 3"]
    targets: Float[Array, "n m 2"]
    labelled: Bool[Array, "n m"]
    joints: Int[Array, "n m"]


def refiner_samples(
    key: jax.Array,
    batch: PoseSet,
    config: RefinerConfig,
    augment: AugmentConfig,
    displacements: Displacements | ObservedDisplacements,
    skeleton: Skeleton,
) -> RefinerSamples:
    """Crops about simulated predictions of the previous stage, of randomly changed images (DeepPose, section 3.2)."""
    geometry, draw, choice, pixels = jax.random.split(key, 4)
    maps, flipped = random_maps(geometry, batch.boxes, augment)
    moved = move_joints(batch, maps, flipped, skeleton)
    floor = smallest_diam(batch.boxes)
    centres, diams = simulate(
        draw, moved.joints, moved.labelled, displacements, skeleton, floor, flipped
    )
    boxes = refiner_boxes(centres, diams, config.sigma)
    targets = to_frame(moved.joints, boxes)
    joints = _some_joints(choice, moved.labelled, config.joints_per_image)
    rows = jnp.arange(len(batch))[:, None]

    c = batch.canvases.shape[1]
    whole = jnp.broadcast_to(jnp.array([(c - 1) / 2, (c - 1) / 2, c, c]), (len(batch), 4))
    canvases = crop(batch.canvases, whole, maps, c)
    crops = crop_boxes(canvases, boxes[rows, joints], config.model.input_size)
    changed = random_pixels(pixels, crops.reshape(-1, *crops.shape[2:]), augment)
    return RefinerSamples(
        inputs=normalise(changed).reshape(crops.shape),
        targets=targets[rows, joints],
        labelled=moved.labelled[rows, joints],
        joints=joints,
    )


def _some_joints(key: jax.Array, labelled: Bool[Array, "n k"], count: int) -> Int[Array, "n m"]:
    """All joints in their order, or `count` of each image at random, labelled ones first."""
    n, k = labelled.shape
    if count in (0, k):
        return jnp.broadcast_to(jnp.arange(k), (n, k))
    return jnp.argsort(jax.random.uniform(key, (n, k)) + ~labelled, axis=1)[:, :count]


def random_maps(
    key: jax.Array, boxes: Float[Array, "n 4"], augment: AugmentConfig
) -> tuple[Float[Array, "n 2 3"], Bool[Array, " n"]]:
    """Random similarities about the boxes' centres, and which of them mirror."""
    n = boxes.shape[0]
    rotation, scale, shift, flip = jax.random.split(key, 4)
    angle = jnp.deg2rad(augment.rotation) * jax.random.uniform(rotation, (n,), minval=-1)
    zoom = jnp.exp2(augment.scale * jax.random.uniform(scale, (n,), minval=-1))
    moved = augment.translation * jax.random.uniform(shift, (n, 2), minval=-1) * boxes[:, 2:]
    flipped = jax.random.bernoulli(flip, 0.5, (n,)) & augment.flip
    cos, sin = zoom * jnp.cos(angle), zoom * jnp.sin(angle)
    linear = jnp.stack([jnp.stack([cos, -sin], -1), jnp.stack([sin, cos], -1)], -2)  # [n, 2, 2]
    mirror = jnp.stack([jnp.where(flipped, -1.0, 1.0), jnp.ones(n)], -1)  # [n, 2]
    linear = linear * mirror[:, None, :]
    centre = boxes[:, :2]
    offset = centre + moved - jnp.einsum("nij,nj->ni", linear, centre)
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
        images = _blur(images, augment.blur * jax.random.uniform(keys[2], (n,)), augment.blur)
    if augment.noise:
        deviation = augment.noise * jax.random.uniform(keys[3], (n, 1, 1, 1))
        images = images + deviation * jax.random.normal(keys[4], images.shape)
    return jnp.clip(images, 0, 1)


def _blur(images: jax.Array, sigma: jax.Array, largest: float) -> jax.Array:
    """A separable Gaussian blur, each image with its own standard deviation in pixels."""
    radius = int(np.ceil(2.5 * largest))
    offsets = jnp.arange(-radius, radius + 1)
    weights = jnp.exp(-0.5 * (offsets / jnp.maximum(sigma, 1e-3)[:, None]) ** 2)  # [n, taps]
    weights = weights / weights.sum(1, keepdims=True)
    for axis in (1, 2):
        pad = [(0, 0)] * 4
        pad[axis] = (radius, radius)
        padded = jnp.pad(images, pad, mode="edge")
        taps = [
            weights[:, i, None, None, None]
            * jax.lax.dynamic_slice_in_dim(padded, i, images.shape[axis], axis)
            for i in range(2 * radius + 1)
        ]
        images = reduce(jnp.add, taps)
    return images
