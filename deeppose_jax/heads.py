"""Heads: from a backbone's features to joints in a box's frame, and the loss each is trained with.

A head is called as `head(features [b, h, w, c], rngs=None)` and gives an `Estimate`; `head_loss` knows from it which
loss applies. Joints are in the frame of `codec.encode`, in which the box is [-0.5, 0.5]^2.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from convnets_jax import initializers
from deeppose_jax.skeleton import Skeleton

# The range of predicted scales, in box sides: half a pixel of 100, and a guess that covers the box several times. Its
# geometric mean, 0.1, is what an untrained head says.
SMALLEST_SCALE, LARGEST_SCALE = 0.005, 2.0


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Estimate:
    """What a head says about k joints of b boxes.

    Attributes:
        joints: (x, y) in the boxes' frames.
        scales: the expected absolute error of either coordinate, in box sides (the Laplace distribution's b), or None
            from a head that gives none.
    """

    joints: Float[Array, "b k 2"]
    scales: Float[Array, "b k"] | None = None


class RegressionHead(nnx.Module):
    """F - F - 2k on flattened features: the coordinates themselves (DeepPose, section 3.1).

    Args:
        in_features: h w c of the features.
        num_joints: k; 1 for a refiner of a single joint.
        hidden: widths of the hidden layers.
        dropout: the part of each hidden layer's outputs that is dropped in training.
        dtype: of the hidden layers' activations.
        rngs: draws the parameters.
    """

    def __init__(
        self,
        in_features: int,
        num_joints: int,
        hidden: tuple[int, ...],
        dropout: float,
        *,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.num_joints = num_joints
        self.hidden = nnx.List([])
        for width in hidden:
            init = initializers.he_normal()
            self.hidden.append(
                nnx.Linear(in_features, width, dtype=dtype, kernel_init=init, rngs=rngs)
            )
            in_features = width
        self.dropout = nnx.Dropout(dropout)
        # Poses start near the boxes' centres: wider ones would first have to be unlearnt.
        self.joints = nnx.Linear(
            in_features, 2 * num_joints, kernel_init=initializers.normal(1e-3), rngs=rngs
        )

    def __call__(self, features: Float[Array, "b h w c"], rngs: nnx.Rngs | None = None) -> Estimate:
        x = features.reshape(features.shape[0], -1)  # [b, h w c]
        for linear in self.hidden:
            x = self.dropout(nnx.relu(linear(x)), rngs=rngs)
        return Estimate(self.joints(x.astype(jnp.float32)).reshape(-1, self.num_joints, 2))


class IntegralHead(nnx.Module):
    """A heat map per joint and its mean: soft-argmax (Sun et al. 2018, arXiv 1711.08229), with a scale per joint.

    The mean stays inside of the outermost cells' centres: a joint less than half a cell from the box's border, or
    beyond it, is out of reach. The scale is read from the features where the joint is, their mean under its heat map;
    with `head_loss` it is residual log-likelihood estimation (Li et al. 2021, arXiv 2107.11291) with a fixed Laplace
    density in place of the learnt one.

    Args:
        in_channels: c of the features.
        num_joints: k; 1 for a refiner of a single joint.
        dtype: of the products with the features; softmax, means and scales are float32.
        rngs: draws the parameters.
    """

    def __init__(
        self,
        in_channels: int,
        num_joints: int,
        *,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        # One vector of weights a joint: a 1x1 convolution. No bias, which softmax would cancel.
        self.heat = nnx.Linear(
            in_channels,
            num_joints,
            use_bias=False,
            dtype=dtype,
            kernel_init=initializers.lecun_normal(),
            rngs=rngs,
        )
        zeros = nnx.initializers.zeros_init()
        self.scale_kernel = nnx.Param(zeros(rngs.params(), (num_joints, in_channels)))
        self.scale_bias = nnx.Param(jnp.zeros(num_joints))

    def heat_maps(self, features: Float[Array, "b h w c"]) -> Float[Array, "b h w k"]:
        """Where each joint is: float32, the sum over each map is 1."""
        return jax.nn.softmax(self.heat(features).astype(jnp.float32), axis=(1, 2))

    def __call__(self, features: Float[Array, "b h w c"], rngs: nnx.Rngs | None = None) -> Estimate:
        del rngs  # it draws nothing
        heat = self.heat_maps(features)
        attended = jnp.einsum("bhwk,bhwc->bkc", heat, features.astype(jnp.float32))
        logits = jnp.einsum("bkc,kc->bk", attended, self.scale_kernel[...]) + self.scale_bias[...]
        return Estimate(soft_argmax(heat), bounded_scales(logits))


def cell_centres(count: int) -> Float[Array, " count"]:
    """(j + 0.5) / count - 0.5: the centres of `count` cells along a side of the box's frame."""
    return (jnp.arange(count, dtype=jnp.float32) + 0.5) / count - 0.5


def soft_argmax(heat: Float[Array, "b h w k"]) -> Float[Array, "b k 2"]:
    """The means (x, y), in the box's frame, of heat maps that sum to 1."""
    _, h, w, _ = heat.shape
    # From the marginals, by sums and not by matmul, which on TPU would round coordinates to bfloat16.
    x = (heat.sum(1) * cell_centres(w)[:, None]).sum(1)
    y = (heat.sum(2) * cell_centres(h)[:, None]).sum(1)
    return jnp.stack([x, y], -1)


def bounded_scales(logits: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Any number to a scale between SMALLEST_SCALE and LARGEST_SCALE, their geometric mean at 0.

    A floor keeps the loss's gradient, 1 / scale, bounded; a sigmoid of log b lets a gradient through at any logit.
    """
    low, high = math.log(SMALLEST_SCALE), math.log(LARGEST_SCALE)
    return jnp.exp(low + (high - low) * jax.nn.sigmoid(logits))


def head_loss(
    estimate: Estimate, target: Float[Array, "b k 2"], labelled: Bool[Array, "b k"]
) -> Float[Array, " b"]:
    """The loss of each image: `masked_l2` without scales, `laplace_nll` with them.

    Raises:
        ValueError: on shapes that don't belong together.
    """
    if estimate.scales is None:
        return masked_l2(estimate.joints, target, labelled)
    return laplace_nll(estimate.joints, estimate.scales, target, labelled)


def masked_l2(
    predicted: Float[Array, "b k 2"], target: Float[Array, "b k 2"], labelled: Bool[Array, "b k"]
) -> Float[Array, " b"]:
    """sum_i ||y_i - psi_i||^2 over the labelled joints of each image (DeepPose, equation 4).

    Raises:
        ValueError: on shapes that don't belong together.
    """
    return jnp.square(_errors(predicted, target, labelled)).sum((-1, -2))


def laplace_nll(
    predicted: Float[Array, "b k 2"],
    scales: Float[Array, "b k"],
    target: Float[Array, "b k 2"],
    labelled: Bool[Array, "b k"],
) -> Float[Array, " b"]:
    """-log p(y) of each image under independent Laplace distributions about the prediction.

    sum_i (|dx_i| + |dy_i|) / b_i + 2 log(2 b_i) over the labelled joints; least at b_i = (|dx_i| + |dy_i|) / 2, and
    below 0 where that is small.

    Raises:
        ValueError: on shapes that don't belong together.
    """
    distance = jnp.abs(_errors(predicted, target, labelled)).sum(-1)  # [b, k]
    if scales.shape != labelled.shape:
        raise ValueError(f"scales and labelled [b, k] don't fit: {scales.shape}, {labelled.shape}")
    scales = jnp.where(labelled, scales, 0.5)  # log(2 * 0.5) = 0: no loss, and a finite gradient
    return (distance / scales + 2 * jnp.log(2 * scales)).sum(-1)


def _errors(predicted: jax.Array, target: jax.Array, labelled: jax.Array) -> jax.Array:
    """predicted - target, and 0 for unlabelled joints: masked here, so that no NaN gets into a gradient."""
    if predicted.shape != target.shape or labelled.shape != target.shape[:-1]:
        raise ValueError(
            f"joints and targets [b, k, 2] and labelled [b, k] don't fit: "
            f"{predicted.shape}, {target.shape} and {labelled.shape}"
        )
    return jnp.where(labelled[..., None], predicted - target, 0)


def mirror(estimate: Estimate, skeleton: Skeleton) -> Estimate:
    """The estimate for the mirrored box: x -> -x, left joints become right ones. Its own inverse.

    A flip test takes the mean of a network's word on an image and on its mirror image:

        there, back = head(features), mirror(head(features_of_mirror_image), skeleton)
        mean = jax.tree.map(lambda a, b: (a + b) / 2, there, back)

    Raises:
        ValueError: when the estimate is of other joints than the skeleton's.
    """
    if estimate.joints.shape[-2] != skeleton.num_joints:
        raise ValueError(
            f"an estimate of {estimate.joints.shape[-2]} joints can't be mirrored by a skeleton "
            f"of {skeleton.num_joints}"
        )
    swap = np.asarray(skeleton.swap)
    joints = estimate.joints[..., swap, :] * jnp.array([-1.0, 1.0])
    return Estimate(joints, None if estimate.scales is None else estimate.scales[..., swap])
