"""Cross-entropy of classes, weighted where they are of unequal size."""

from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

ClassWeights = Literal["none", "median_frequency"]

# Of each of GoogLeNet's auxiliary heads in the loss (Szegedy et al. 2015, section 5).
AUXILIARY = 0.3


def class_weights(counts: Int[np.ndarray, " k"], kind: ClassWeights) -> Float[np.ndarray, " k"]:
    """A weight for each class: 1, or the median frequency over the class's (Eigen and Fergus, ICCV 2015).

    Classes without images get 0.
    """
    if kind == "none":
        return np.ones(len(counts), np.float32)
    seen = counts > 0
    weights = np.median(counts[seen]) / np.maximum(counts, 1)
    return np.where(seen, weights, 0).astype(np.float32)


def cross_entropy(
    logits: Float[Array, "b k"], labels: Int[Array, " b"], weights: Float[np.ndarray, " k"]
) -> Float[Array, " b"]:
    """-w_y log softmax(logits)_y of each image, for its class y."""
    return jnp.asarray(weights)[labels] * optax.softmax_cross_entropy_with_integer_labels(
        logits, labels
    )


def training_loss(
    outputs: Sequence[Float[Array, "b k"]],
    labels: Int[Array, " b"],
    weights: Float[np.ndarray, " k"],
) -> Float[Array, " b"]:
    """The cross-entropy of each image, and `AUXILIARY` times that of each auxiliary head.

    Args:
        outputs: logits, and then those of auxiliary heads.
    """
    final, *heads = (cross_entropy(logits, labels, weights) for logits in outputs)
    return final + AUXILIARY * sum(heads)
