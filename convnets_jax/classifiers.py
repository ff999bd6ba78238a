"""From features to logits: hidden fully connected layers, or one linear layer on the mean over all cells."""

from collections.abc import Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from convnets_jax import initializers
from convnets_jax.features import Features
from convnets_jax.layers import batch_norm
from convnets_jax.pooling import adaptive_avg_pool

_HE = initializers.he_normal()
_ZEROS = nnx.initializers.zeros_init()


def hidden_layers(
    width: int,
    widths: Sequence[int],
    *,
    normalised: bool = False,
    kernel_init: nnx.Initializer = _HE,
    bias_init: nnx.Initializer = _ZEROS,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
) -> tuple[nnx.List[nnx.Linear], nnx.List[nnx.BatchNorm]]:
    """Hidden fully connected layers and their batch norms, for `apply_hidden`.

    Args:
        width: of the input.
        widths: of the layers.
        normalised: with batch normalisation; without, there are no norms.
        kernel_init: of the layers.
        bias_init: of the layers.
        dtype: of the activations.
        rngs: draws the parameters.
    """
    hidden, norms = nnx.List([]), nnx.List([])
    shared = {"dtype": dtype, "rngs": rngs}
    inits = {"kernel_init": kernel_init, "bias_init": bias_init}
    for fan_out in widths:
        hidden.append(nnx.Linear(width, fan_out, **inits, **shared))
        if normalised:
            norms.append(batch_norm(fan_out, **shared))
        width = fan_out
    return hidden, norms


def apply_hidden(
    x: jax.Array,
    hidden: Sequence[nnx.Linear],
    dropout: nnx.Dropout,
    rngs: nnx.Rngs | None,
    norms: Sequence[nnx.BatchNorm] = (),
) -> jax.Array:
    """Hidden layers one after the other, each with its norm, a ReLU and dropout: [b, ...] -> [b, f]."""
    x = x.reshape(len(x), -1)
    for i, linear in enumerate(hidden):
        x = linear(x)
        if norms:
            x = norms[i](x)
        x = dropout(nnx.relu(x), rngs=rngs)
    return x


class FullyConnectedClassifier(nnx.Module):
    """Fully connected layers on a network's features: images [b, h, w, 3] -> logits [b, num_classes].

    Features of images of another size than the config's are averaged to the cells that the hidden layers are made for,
    as in torchvision. Parameters and logits are float32, activations are `dtype`. `train()` and `eval()`, or
    `nnx.view`, switch dropout and the statistics of batch normalisation.

    Args:
        features: the convolutions, whose config has `input_size`, `hidden`, `dropout` and `num_classes`.
        logits_init: of the last layer's weights.
        rngs: draws the parameters.
        options: of `hidden_layers`: its normalised, kernel_init and bias_init, and the activations' dtype.

    Attributes:
        config: what it was built from.
        features: as given.
        hidden: the hidden layers.
        norms: their batch norms, if any.
        logits: the last layer.
    """

    def __init__(
        self,
        features: Features,
        *,
        logits_init: nnx.Initializer,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        self.config: Any = features.config
        self.features: Any = features
        width = prod(features.output_shape(self.config.input_size))
        self.hidden, self.norms = hidden_layers(width, self.config.hidden, rngs=rngs, **options)
        self.dropout = nnx.Dropout(self.config.dropout)
        last = (width, *self.config.hidden)[-1]
        self.logits = nnx.Linear(last, self.config.num_classes, kernel_init=logits_init, rngs=rngs)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Logits [b, num_classes] of images [b, h, w, 3]; in training, dropout draws from `rngs`.

        Raises UserError for an array of another shape and for images that are too small.
        """
        height, width, _ = self.features.output_shape(self.config.input_size)
        x = adaptive_avg_pool(self.features(x), (height, width))
        x = apply_hidden(x, self.hidden, self.dropout, rngs, self.norms)
        return self.logits(x.astype(jnp.float32))


class PooledClassifier(nnx.Module):
    """One linear layer on the mean of a network's features: images [b, h, w, 3] -> logits [b, num_classes].

    Parameters and logits are float32, activations are `dtype`. `train()` and `eval()`, or `nnx.view`, switch dropout
    and the statistics of batch normalisation.

    Args:
        features: the convolutions, whose config has `num_classes`.
        width: of what the last layer reads, where a class puts a layer before it; None is that of the features.
        dropout: share of what the last layer reads that is dropped in training.
        rngs: draws the parameters.

    Attributes:
        config: what it was built from.
        features: as given.
        logits: the last layer.
    """

    def __init__(
        self,
        features: Features,
        *,
        width: int | None = None,
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ):
        self.config: Any = features.config
        self.features: Any = features
        self.dropout = nnx.Dropout(dropout)
        self.logits = nnx.Linear(
            width or features.out_channels,
            self.config.num_classes,
            kernel_init=initializers.lecun_normal(),
            rngs=rngs,
        )

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Logits [b, num_classes] of images [b, h, w, 3]; in training, dropout draws from `rngs`.

        Raises UserError for an array of another shape and for images that are too small.
        """
        return self.classify(self.features(x), rngs)

    def classify(self, features: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Logits [b, num_classes] of features [b, h', w', c]."""
        mean = features.mean((1, 2), dtype=jnp.float32)  # [b, c]
        return self.logits(self.dropout(mean, rngs=rngs))
