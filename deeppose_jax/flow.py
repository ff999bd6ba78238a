"""A learned density in the plane: RealNVP (Dinh et al. 2017, arXiv 1605.08803), small enough to be part of a loss."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from convnets_jax import initializers


class RealNVP(nnx.Module):
    """Density p(x) of points x in R^2: coupling layers map x to a standard normal z, one coordinate at a time.

    A coupling keeps one coordinate u and maps the other, v, to v exp(s(u)) + t(u), with s in [-1, 1]; the next coupling
    exchanges their roles. s and t are networks with two hidden layers of leaky ReLUs. Sizes are those of residual
    log-likelihood estimation (Li et al. 2021, arXiv 2107.11291). Untrained, s = t = 0 and p is the standard normal
    density.

    Args:
        couplings: number of coupling layers.
        hidden: width of the networks' hidden layers.
        rngs: draws the parameters.
    """

    def __init__(self, couplings: int = 6, hidden: int = 64, *, rngs: nnx.Rngs):
        networks = (couplings, 2)  # s and t of each coupling
        key, zeros = rngs.params, jnp.zeros
        self.kernel1 = nnx.Param(initializers.normal(2**0.5)(key(), (*networks, hidden)))
        # Random, so that the units' kinks don't all lie at u = 0.
        self.bias1 = nnx.Param(initializers.normal(1.0)(key(), (*networks, hidden)))
        he = initializers.normal((2 / hidden) ** 0.5)
        self.kernel2 = nnx.Param(he(key(), (*networks, hidden, hidden)))
        self.bias2 = nnx.Param(zeros((*networks, hidden)))
        self.kernel3 = nnx.Param(zeros((*networks, hidden)))
        self.bias3 = nnx.Param(zeros(networks))

    def log_prob(self, points: Float[Array, "*b 2"]) -> Float[Array, "*b"]:
        """log p(x) = log N(z) + log |dz/dx|.

        Raises:
            ValueError: for points of another dimension.
        """
        if points.shape[-1] != 2:
            raise ValueError(f"points are [*b, 2], not {points.shape}")
        x, y = points.reshape(-1, 2).T
        # A loop over the couplings compiles faster than a long expression.
        parameters = (
            *(self.kernel1[...], self.bias1[...]),
            *(self.kernel2[...], self.bias2[...]),
            *(self.kernel3[...], self.bias3[...]),
        )
        (x, y, log_volume), _ = jax.lax.scan(_couple, (x, y, jnp.zeros_like(x)), parameters)
        log_density = log_volume - (x**2 + y**2) / 2 - math.log(2 * math.pi)
        return log_density.reshape(points.shape[:-1])


_Carry = tuple[jax.Array, jax.Array, jax.Array]


def _couple(carry: _Carry, parameters: tuple[jax.Array, ...]) -> tuple[_Carry, None]:
    """One coupling of n points. Carries the coordinate it keeps, the one it maps, and log |dz/dx| so far, all [n]."""
    kept, moved, log_volume = carry
    kernel1, bias1, kernel2, bias2, kernel3, bias3 = parameters
    hidden = nnx.leaky_relu(kept[:, None] * kernel1[:, None] + bias1[:, None])  # [2, n, h]
    hidden = nnx.leaky_relu(hidden @ kernel2 + bias2[:, None])  # [2, n, h]
    log_scale, shift = (hidden * kernel3[:, None]).sum(-1) + bias3[:, None]  # [n]
    log_scale = jnp.tanh(log_scale)
    return (moved * jnp.exp(log_scale) + shift, kept, log_volume + log_scale), None
