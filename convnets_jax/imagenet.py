"""The colours that networks take: normalised by ImageNet's statistics, as torchvision's transforms do it."""

import jax.numpy as jnp
from jaxtyping import Array, Float

# Of red, green and blue in [0, 1]: what published weights are made for, and near enough to other photographs.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(images: Float[Array, "*b 3"]) -> Float[Array, "*b 3"]:
    """(image - MEAN) / STD, of RGB images in [0, 1]."""
    return (images - jnp.array(MEAN)) / jnp.array(STD)
