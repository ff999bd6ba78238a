"""Detectors that aren't trained: how far a pretrained network's features of an image are from good images'."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from anomaly_jax.config import AnomalyConfig
from anomaly_jax.detector import as_values
from anomaly_jax.embedding import Embedding
from anomaly_jax.padim import Gaussians, fit_gaussians
from anomaly_jax.patchcore import MemoryBank, fit_bank
from anomaly_jax.predictor import Detections
from anomaly_jax.scoring import ScoringConfig, image_score, smooth
from engine_jax.state import Variables


class FeatureDetector(nnx.Module):
    """PaDiM or PatchCore.

    Args:
        embedding: the network.
        memory: of the good images.
    """

    def __init__(self, embedding: Embedding, memory: Gaussians | MemoryBank):
        self.embedding = embedding
        self.memory = memory

    def __call__(
        self, images: Float[Array, "b s s 3"], scoring: ScoringConfig
    ) -> tuple[Float[Array, "b s s"], Float[Array, " b"]]:
        """Maps of distances at the images' size, smoothed; and the images' scores: PatchCore's own, or of the maps."""
        embeddings = self.embedding(images)
        own_scores = None
        if isinstance(self.memory, MemoryBank):
            distances, own_scores = self.memory(embeddings)
        else:
            distances = self.memory(embeddings)
        resized = jax.image.resize(distances, images.shape[:3], "bilinear", antialias=False)
        maps = smooth(resized, scoring.sigma)
        scores = image_score(maps, scoring.image, part=scoring.top)
        return maps, scores if own_scores is None else own_scores


def feature_detect_step(
    variables: Variables,
    images: UInt8[Array, "b s s 3"],
    *,
    graphdef: nnx.GraphDef,
    scoring: ScoringConfig,
) -> Detections:
    """Maps and scores of one batch."""
    detector = nnx.merge(graphdef, variables.params, variables.model_state)
    maps, scores = detector(as_values(images), scoring)
    return Detections(maps, None, scores, None)


def fit_feature_detector(
    embedding: Embedding,
    images: UInt8[np.ndarray, "n s s 3"],
    settings: AnomalyConfig,
    key: jax.Array,
) -> FeatureDetector:
    """The detector of good images; none of the network's weights change.

    Args:
        embedding: the network, with its weights.
        images: all of them.
        settings: of the run.
        key: of what is drawn at random.
    """
    batches = _embeddings(embedding, images, settings.evaluation.batch_size)
    if settings.method == "padim":
        memory = fit_gaussians(batches, settings.padim, key)
    else:
        memory = fit_bank(batches, settings.patchcore, key)
    return FeatureDetector(embedding, memory)


def abstract_detector(settings: AnomalyConfig, patches: int) -> FeatureDetector:
    """A detector with shapes in place of arrays.

    Args:
        settings: of the run.
        patches: of PatchCore's memory bank.
    """

    def build() -> FeatureDetector:
        embedding = Embedding(settings.embedding, rngs=nnx.Rngs(0))
        size = settings.model.input_size
        _, height, width, channels = embedding(jnp.zeros((1, size, size, 3))).shape
        if settings.method == "patchcore":
            bank = jnp.zeros((patches, channels))
            return FeatureDetector(embedding, MemoryBank(bank, settings.patchcore.neighbours))
        kept = min(settings.padim.channels, channels)
        memory = Gaussians(
            jnp.zeros((channels, kept)),
            jnp.zeros((height, width, kept)),
            jnp.zeros((height, width, kept, kept)),
        )
        return FeatureDetector(embedding, memory)

    return nnx.eval_shape(build)


def _embeddings(
    embedding: Embedding, images: UInt8[np.ndarray, "n s s 3"], batch_size: int
) -> Iterator[Float[Array, "b h w c"]]:
    """Of all images, batch by batch."""
    graphdef, variables = nnx.split(embedding)

    @jax.jit
    def embed(variables: nnx.State, images: jax.Array) -> jax.Array:
        return nnx.merge(graphdef, variables)(as_values(images))

    for first in range(0, len(images), batch_size):
        yield embed(variables, images[first : first + batch_size])
