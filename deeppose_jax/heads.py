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
from convnets_jax.classifiers import apply_hidden, hidden_layers
from deeppose_jax.flow import RealNVP
from deeppose_jax.skeleton import Skeleton

# The range of predicted scales, in box sides: half a pixel of 100, and several times the box. The geometric mean, 0.1,
# is what an untrained head predicts.
SMALLEST_SCALE, LARGEST_SCALE = 0.005, 2.0


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Estimate:
    """A head's estimate of k joints in b boxes.

    Attributes:
        joints: (x, y) in the boxes' frames.
        scales: the expected absolute error of either coordinate, in box sides (the Laplace distribution's b), or None
            from a head without scales.
    """

    joints: Float[Array, "b k 2"]
    scales: Float[Array, "b k"] | None = None


class Head(Protocol):
    """The layers on a backbone's features, and their loss."""

    def __call__(self, features: Float[Array, "b h w c"], rngs: nnx.Rngs | None = None) -> Estimate:
        """The estimate; dropout draws from `rngs`."""
        ...

    def loss(
        self, estimate: Estimate, target: Float[Array, "b k 2"], labelled: Bool[Array, "b k"]
    ) -> Float[Array, " b"]:
        """The loss of each image, over its labelled joints. ValueError for shapes that don't match."""
        ...


class RegressionHead(nnx.Module):
    """Fully connected layers from flattened features to coordinates, trained with L2 (DeepPose, section 3.1).

    Args:
        in_features: h w c of the features.
        num_joints: k; 1 for a refiner of a single joint.
        hidden: widths of the hidden layers.
        dropout: share of each hidden layer's outputs that is dropped in training.
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
        self.hidden, _ = hidden_layers(in_features, hidden, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        # Small weights, so that first estimates are near the boxes' centres: larger errors would have to be unlearnt.
        width = (in_features, *hidden)[-1]
        self.joints = nnx.Linear(
            width, 2 * num_joints, kernel_init=initializers.normal(1e-3), rngs=rngs
        )

    def last_hidden(
        self, features: Float[Array, "b h w c"], rngs: nnx.Rngs | None
    ) -> Float[Array, "b f"]:
        """Output of the last hidden layer in float32, or the flattened features if there is none."""
        return apply_hidden(features, self.hidden, self.dropout, rngs).astype(jnp.float32)

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

    Both coordinates of a joint share one scale, by which a cascade weights joints; the paper has one for each
    coordinate. The flow is used in the loss only, not for predictions.

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
    """A heat map and its mean for each joint: soft-argmax (Sun et al. 2018, arXiv 1711.08229), with a scale per joint.

    The mean lies between the outermost cells' centres: joints less than half a cell from the box's border, or beyond
    it, can't be reached. The scale is a linear function of the features where the joint is: their mean under its heat
    map. The loss is a Laplace likelihood: residual log-likelihood estimation (Li et al. 2021, arXiv 2107.11291) without
    its learned part, which `flow` adds.

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
        # A 1x1 convolution, one vector of weights for each joint, without bias, which softmax would cancel.
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
        """Probability of each joint's position, float32: each map sums to 1."""
        return jax.nn.softmax(self.heat(features).astype(jnp.float32), axis=(1, 2))

    def __call__(self, features: Float[Array, "b h w c"], rngs: nnx.Rngs | None = None) -> Estimate:
        del rngs  # no dropout
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
    # By sums over the marginals instead of matmul, which would round coordinates to bfloat16 on TPU.
    x = (heat.sum(1) * cell_centres(w)[:, None]).sum(1)
    y = (heat.sum(2) * cell_centres(h)[:, None]).sum(1)
    return jnp.stack([x, y], -1)


def bounded_scales(logits: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Maps any number to a scale between SMALLEST_SCALE and LARGEST_SCALE; 0 to their geometric mean.

    The lower bound limits the loss's gradient, 1 / scale; the sigmoid, of log b, has a gradient at any logit.
    """
    low, high = math.log(SMALLEST_SCALE), math.log(LARGEST_SCALE)
    return jnp.exp(low + (high - low) * jax.nn.sigmoid(logits))


def masked_l2(
    predicted: Float[Array, "b k 2"], target: Float[Array, "b k 2"], labelled: Bool[Array, "b k"]
) -> Float[Array, " b"]:
    """sum_i ||y_i - psi_i||^2 over the labelled joints of each image (DeepPose, equation 4).

    Raises:
        ValueError: for shapes that don't match.
    """
    return jnp.square(_errors(predicted, target, labelled)).sum((-1, -2))


def laplace_nll(
    predicted: Float[Array, "b k 2"],
    scales: Float[Array, "b k"],
    target: Float[Array, "b k 2"],
    labelled: Bool[Array, "b k"],
) -> Float[Array, " b"]:
    """-log p(y) of each image under independent Laplace distributions centred on the prediction.

    sum_i (|dx_i| + |dy_i|) / b_i + 2 log(2 b_i) over the labelled joints; minimal at b_i = (|dx_i| + |dy_i|) / 2, and
    negative where that is small.

    Raises:
        ValueError: for shapes that don't match.
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
    once and a constant log s beside it; with s left out, as in the authors' program, the logarithm has to be in both
    terms, as it is there: otherwise scales would grow and the flow would compensate. Each term is then the likelihood
    of a density that integrates to 1, and the first makes scales expected absolute errors.

    Raises:
        ValueError: for shapes that don't match.
    """
    laplace = laplace_nll(predicted, scales, target, labelled)
    scales = jnp.where(labelled, scales, 1)
    residuals = _errors(predicted, target, labelled) / scales[..., None]  # [b, k, 2]
    learned = 2 * jnp.log(scales) - flow.log_prob(residuals)
    return laplace + jnp.where(labelled, learned, 0).sum(-1)


def _errors(predicted: jax.Array, target: jax.Array, labelled: jax.Array) -> jax.Array:
    """predicted - target, and 0 for unlabelled joints: masked here to keep NaN out of gradients."""
    if predicted.shape != target.shape or labelled.shape != target.shape[:-1]:
        raise ValueError(
            f"joints and targets [b, k, 2] and labelled [b, k] don't fit: "
            f"{predicted.shape}, {target.shape} and {labelled.shape}"
        )
    return jnp.where(labelled[..., None], predicted - target, 0)


def mirror(estimate: Estimate, skeleton: Skeleton) -> Estimate:
    """The estimate for the mirrored box: x -> -x, left joints become right ones. Its own inverse.

    A flip test averages a network's estimates for an image and for its mirror image:

        there, back = head(features), mirror(head(features_of_mirror_image), skeleton)
        mean = jax.tree.map(lambda a, b: (a + b) / 2, there, back)

    Raises:
        ValueError: the numbers of joints differ.
    """
    if estimate.joints.shape[-2] != skeleton.num_joints:
        raise ValueError(
            f"an estimate of {estimate.joints.shape[-2]} joints can't be mirrored by a skeleton "
            f"of {skeleton.num_joints}"
        )
    swap = np.asarray(skeleton.swap)
    joints = estimate.joints[..., swap, :] * jnp.array([-1.0, 1.0])
    return Estimate(joints, None if estimate.scales is None else estimate.scales[..., swap])
