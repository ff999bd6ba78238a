"""The networks of a run: an autoencoder, and in the discriminative form a segmenter of what it changed."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from anomaly_jax import losses, scoring
from anomaly_jax.autoencoder import Autoencoder
from anomaly_jax.config import AnomalyConfig, LossConfig, ScoringConfig
from anomaly_jax.segmenter import Segmenter, focal
from convnets_jax.precision import activation_dtype


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Output:
    """What a detector makes of images.

    Attributes:
        reconstructions: the images as the autoencoder gives them back.
        logits: of each pixel being faulty; None without a segmenter.
    """

    reconstructions: Float[Array, "b s s 3"]
    logits: Float[Array, "b s s"] | None


class Detector(nnx.Module):
    """Images [b, s, s, 3] in [0, 1] -> Output.

    Args:
        settings: of the run.
        rngs: draws the parameters.
    """

    def __init__(self, settings: AnomalyConfig, *, rngs: nnx.Rngs):
        self.autoencoder = Autoencoder(settings.model, rngs=rngs)
        self.segmenter: Segmenter | None = nnx.data(None)
        if settings.method == "discriminative":
            dtype = activation_dtype(settings.model.dtype)
            self.segmenter = Segmenter(settings.segmenter, dtype=dtype, rngs=rngs)

    def __call__(self, images: Float[Array, "b s s 3"]) -> Output:
        reconstructions = self.autoencoder(images)
        if self.segmenter is None:
            return Output(reconstructions, None)
        # The autoencoder learns to give back good images, not to make the segmenter's task easy.
        logits = self.segmenter(images, jax.lax.stop_gradient(reconstructions))
        return Output(reconstructions, logits)


def detector_losses(
    output: Output,
    targets: Float[Array, "b s s 3"],
    faults: Float[Array, "b s s"],
    config: LossConfig,
) -> Float[Array, " b"]:
    """The training loss of each image: of its reconstruction, and of its segmentation where there is one.

    Args:
        output: of images with painted faults.
        targets: the same images without them.
        faults: which pixels were painted over.
    """
    if config.kind == "l2":
        found = losses.l2(targets, output.reconstructions)
    else:
        found = losses.ssim(
            targets, output.reconstructions, window=config.window, kind=config.shape
        )
    if output.logits is None:
        return found
    return found + focal(output.logits, faults, area=config.area or None)


def detector_maps(
    images: Float[Array, "b s s 3"], output: Output, config: ScoringConfig
) -> Float[Array, "b s s"]:
    """Anomaly maps in [0, 1]: smoothed residuals, or the segmenter's probabilities, smoothed."""
    if output.logits is None:
        return scoring.anomaly_maps(
            images,
            output.reconstructions,
            residual=config.residual,
            window=config.window,
            sigma=config.sigma,
        )
    return scoring.smooth(nnx.sigmoid(output.logits), config.sigma)


def as_values(images: Any) -> Float[Array, "*b"]:
    """uint8 pixels as float32 in [0, 1]."""
    return jnp.asarray(images).astype(jnp.float32) / 255
