"""Heads: from a backbone's features to joints in a box's frame, and the loss each is trained with.

A head is called as `head(features [b, h, w, c], rngs=None)` and gives an `Estimate`; `head.loss(estimate, target,
labelled)` is the loss [b] of each image. Joints are in the frame of `codec.encode`, in which the box is [-0.5, 0.5]^2.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from convnets_jax import initializers
from deeppose_jax.flow import RealNVP
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


class Head(Protocol):
    """What stands on a backbone."""

    def __call__(self, features: Float[Array, "b h w c"], rngs: nnx.Rngs | None = None) -> Estimate:
        """What the features say; `rngs` is for dropout."""
        ...

    def loss(
        self, estimate: Estimate, target: Float[Array, "b k 2"], labelled: Bool[Array, "b k"]
    ) -> Float[Array, " b"]:
        """The loss of each image; unlabelled joints have none. ValueError on shapes that don't belong together."""
        ...


class RegressionHead(nnx.Module):
    """F - F - 2k on flattened features: the coordinates themselves, trained with L2 (DeepPose, section 3.1).

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

    def last_hidden(
        self, features: Float[Array, "b h w c"], rngs: nnx.Rngs | None
    ) -> Float[Array, "b f"]:
        """What the coordinates are read from, in float32."""
        x = features.reshape(features.shape[0], -1)  # [b, h w c]
        for linear in self.hidden:
            x = self.dropout(nnx.relu(linear(x)), rngs=rngs)
        return x.astype(jnp.float32)

    def __call__(self, features: Float[Array, "b h w c"], rngs: nnx.Rngs | None = None) -> Estimate:
        x = self.last_hidden(features, rngs)
        return Estimate(self.joints(x).reshape(-1, self.num_joints, 2))

    def loss(
        self, estimate: Estimate, target: Float[Array, "b k 2"], labelled: Bool[Array, "b k"]
    ) -> Float[Array, " b"]:
        """`masked_l2`."""
        return masked_l2(estimate.joints, target, labelled)


class ResidualHead(RegressionHead):
    """A `RegressionHead` that gives scales too and is trained by residual log-likelihood estimation (`residual_nll`).

    The scale is one for both coordinates of a joint, where the paper has one for each: a cascade weighs joints by it.
    The flow is used by the loss alone, and by no prediction.

    Args: see `RegressionHead`.
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
        super().__init__(in_features, num_joints, hidden, dropout, dtype=dtype, rngs=rngs)
        zeros = nnx.initializers.zeros_init()
        self.scales = nnx.Linear(self.joints.in_features, num_joints, kernel_init=zeros, rngs=rngs)
        self.flow = RealNVP(rngs=rngs)

    def __call__(self, features: Float[Array, "b h w c"], rngs: nnx.Rngs | None = None) -> Estimate:
        x = self.last_hidden(features, rngs)
        joints = self.joints(x).reshape(-1, self.num_joints, 2)
        return Estimate(joints, bounded_scales(self.scales(x)))

    def loss(
        self, estimate: Estimate, target: Float[Array, "b k 2"], labelled: Bool[Array, "b k"]
    ) -> Float[Array, " b"]:
        """`residual_nll`."""
        assert estimate.scales is not None
        return residual_nll(self.flow, estimate.joints, estimate.scales, target, labelled)


class IntegralHead(nnx.Module):
    """A heat map per joint and its mean: soft-argmax (Sun et al. 2018, arXiv 1711.08229), with a scale per joint.

    The mean stays inside of the outermost cells' centres: a joint less than half a cell from the box's border, or
    beyond it, is out of reach. The scale is read from the features where the joint is, their mean under its heat map.
    The loss is a Laplace likelihood: residual log-likelihood estimation (Li et al. 2021, arXiv 2107.11291) without its
    learnt part, which `flow` adds.

    Args:
        in_channels: c of the features.
        num_joints: k; 1 for a refiner of a single joint.
        flow: train by `residual_nll` rather than `laplace_nll`.
        dtype: of the products with the features; softmax, means and scales are float32.
        rngs: draws the parameters.
    """

    def __init__(
        self,
        in_channels: int,
        num_joints: int,
        flow: bool = False,
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
        self.flow = RealNVP(rngs=rngs) if flow else None

    def heat_maps(self, features: Float[Array, "b h w c"]) -> Float[Array, "b h w k"]:
        """Where each joint is: float32, the sum over each map is 1."""
        return jax.nn.softmax(self.heat(features).astype(jnp.float32), axis=(1, 2))

    def __call__(self, features: Float[Array, "b h w c"], rngs: nnx.Rngs | None = None) -> Estimate:
        del rngs  # it draws nothing
        heat = self.heat_maps(features)
        attended = jnp.einsum("bhwk,bhwc->bkc", heat, features.astype(jnp.float32))
        logits = jnp.einsum("bkc,kc->bk", attended, self.scale_kernel[...]) + self.scale_bias[...]
        return Estimate(soft_argmax(heat), bounded_scales(logits))

    def loss(
        self, estimate: Estimate, target: Float[Array, "b k 2"], labelled: Bool[Array, "b k"]
    ) -> Float[Array, " b"]:
        """`laplace_nll`, or with a flow `residual_nll`."""
        assert estimate.scales is not None
        if self.flow is None:
            return laplace_nll(estimate.joints, estimate.scales, target, labelled)
        return residual_nll(self.flow, estimate.joints, estimate.scales, target, labelled)


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


def residual_nll(
    flow: RealNVP,
    predicted: Float[Array, "b k 2"],
    scales: Float[Array, "b k"],
    target: Float[Array, "b k 2"],
    labelled: Bool[Array, "b k"],
) -> Float[Array, " b"]:
    """Residual log-likelihood estimation (Li et al. 2021, arXiv 2107.11291, equation 8), flow G, Laplace density Q.

    sum_i -log Q(x_i) + 2 log b_i - log G(x_i) + 2 log b_i of the residuals x_i = (yhat_i - y_i) / b_i of labelled
    joints: `laplace_nll`, and the likelihood of the residuals under the flow. Equation 8 has the logarithm of the scale
    once and a constant log s beside it; with s left out, as in the authors' program, the logarithm has to count in both
    terms, as it does there: else scales would grow while the flow makes up for it. Each term is then the likelihood of
    a density whose integral is 1, and the first one gives scales their meaning: expected absolute errors.

    Raises:
        ValueError: on shapes that don't belong together.
    """
    laplace = laplace_nll(predicted, scales, target, labelled)
    scales = jnp.where(labelled, scales, 1)
    residuals = _errors(predicted, target, labelled) / scales[..., None]  # [b, k, 2]
    learnt = 2 * jnp.log(scales) - flow.log_prob(residuals)
    return laplace + jnp.where(labelled, learnt, 0).sum(-1)


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
