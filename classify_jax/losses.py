"""Cross-entropy, with class weights against unequal class sizes."""

from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

ClassWeights = Literal["none", "median_frequency"]

# Weight of each auxiliary head of GoogLeNet in the loss (Szegedy et al. 2015, section 5).
AUXILIARY = 0.3


def class_weights(counts: Int[np.ndarray, " k"], kind: ClassWeights) -> Float[np.ndarray, " k"]:
    """A weight for each class: 1, or the median class frequency divided by the class's (Eigen and Fergus, ICCV 2015).

    With "median_frequency" classes without images get 0.
    """
    if kind == "none":
        return np.ones(len(counts), np.float32)
    seen = counts > 0
    weights = np.median(counts[seen]) / np.maximum(counts, 1)
    return np.where(seen, weights, 0).astype(np.float32)


def cross_entropy(
    logits: Float[Array, "b k"], labels: Int[Array, " b"], weights: Float[np.ndarray, " k"]
) -> Float[Array, " b"]:
    """Weighted cross-entropy of each image, -w_y log softmax(logits)_y for its class y."""
    return jnp.asarray(weights)[labels] * optax.softmax_cross_entropy_with_integer_labels(
        logits, labels
    )


def training_loss(
    outputs: Sequence[Float[Array, "b k"]],
    labels: Int[Array, " b"],
    weights: Float[np.ndarray, " k"],
) -> Float[Array, " b"]:
    """The cross-entropy of each image, plus `AUXILIARY` times that of each auxiliary head.

    Args:
        outputs: the logits, followed by those of the auxiliary heads.
        labels: the true classes.
        weights: of the classes, see `class_weights`.
    """
    final, *heads = (cross_entropy(logits, labels, weights) for logits in outputs)
    return final + AUXILIARY * sum(heads)
