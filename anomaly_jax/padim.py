"""PaDiM: a Gaussian of good images' embeddings at each place (Defard et al., ICPR 2020, arXiv 2011.08785)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from engine_jax.config import AtLeastOne, Positive


@dataclass(frozen=True)
class PadimConfig:
    """PaDiM.

    Attributes:
        channels: of the embedding that are kept, d; all where it has fewer.
        reduction: which: "random" ones (the paper), or as many "orthogonal" directions drawn at random (Kim et al.,
            "Semi-orthogonal embedding", arXiv 2105.14737).
        epsilon: added to the diagonal of every covariance, section III-B.
    """

    channels: Annotated[int, AtLeastOne] = 100
    reduction: Literal["random", "orthogonal"] = "random"
    epsilon: Annotated[float, Positive] = 0.01


class Gaussians(nnx.Module):
    """Embeddings [b, h, w, c] -> Mahalanobis distances [b, h, w] from the good images' at the same place (equation 2).

    Args:
        projection: [c, d], by which the embeddings' channels are reduced.
        mean: [h, w, d].
        whitening: [h, w, d, d], the inverses of the covariances' lower Cholesky factors.
    """

    def __init__(
        self,
        projection: Float[Array, "c d"],
        mean: Float[Array, "h w d"],
        whitening: Float[Array, "h w d d"],
    ):
        self.projection = nnx.Variable(projection)
        self.mean = nnx.Variable(mean)
        self.whitening = nnx.Variable(whitening)

    def __call__(self, embeddings: Float[Array, "b h w c"]) -> Float[Array, "b h w"]:
        centred = embeddings @ self.projection[...] - self.mean[...]
        white = jnp.einsum("hwij,bhwj->bhwi", self.whitening[...], centred)
        return jnp.sqrt(jnp.square(white).sum(-1))


def fit_gaussians(
    batches: Iterable[Float[Array, "b h w c"]], config: PadimConfig, key: jax.Array
) -> Gaussians:
    """The Gaussians of good images' embeddings, with the covariances of n - 1 (equation 1).

    Args:
        batches: the embeddings of n good images, n at least 2, read once; memory doesn't grow with n.
        config: see there.
        key: draws the channels.
    """
    count, projection, shift, total, products = 0, None, None, None, None
    for batch in batches:
        if projection is None:
            projection = _projection(batch.shape[-1], config, key)
        reduced = batch @ projection
        if shift is None:  # Sums of differences from about the mean lose no digits.
            shift = reduced.mean(0)
        added = _sums(reduced - shift)
        total, products = added if total is None else (total + added[0], products + added[1])
        count += len(batch)
    assert projection is not None
    assert total is not None
    return Gaussians(projection, *_moments(count, shift, total, products, config.epsilon))


def _projection(channels: int, config: PadimConfig, key: jax.Array) -> Float[Array, "c d"]:
    kept = min(config.channels, channels)
    if config.reduction == "random":
        return jnp.eye(channels)[:, jnp.sort(jax.random.permutation(key, channels)[:kept])]
    return jnp.linalg.qr(jax.random.normal(key, (channels, kept)))[0]


@jax.jit
def _sums(x: Float[Array, "b h w d"]) -> tuple[Float[Array, "h w d"], Float[Array, "h w d d"]]:
    return x.sum(0), jnp.einsum("bhwi,bhwj->hwij", x, x)


@jax.jit
def _moments(
    count: int, shift: jax.Array, total: jax.Array, products: jax.Array, epsilon: float
) -> tuple[Float[Array, "h w d"], Float[Array, "h w d d"]]:
    """Means and whitening matrices from the sums of differences from `shift` and of their products."""
    mean = total / count
    outer = jnp.einsum("hwi,hwj->hwij", mean, mean)
    identity = jnp.eye(total.shape[-1])
    covariance = (products - count * outer) / (count - 1) + epsilon * identity
    factor = jnp.linalg.cholesky(covariance)
    whitening = jax.scipy.linalg.solve_triangular(
        factor, jnp.broadcast_to(identity, factor.shape), lower=True
    )
    return shift + mean, whitening
