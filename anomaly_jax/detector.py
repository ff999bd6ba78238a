"""What finds anomalies: an autoencoder alone, or with a segmenter that compares an image with its reconstruction."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from anomaly_jax import losses, scoring
from anomaly_jax.autoencoder import Autoencoder, AutoencoderConfig
from anomaly_jax.losses import LossConfig
from anomaly_jax.scoring import ScoringConfig
from anomaly_jax.segmenter import Segmenter, SegmenterConfig, focal
from convnets_jax.precision import activation_dtype

# Kernel, stride and channels of an encoder from 256 px to 8 x 8: fewer layers than the published one, since the
# segmenter does most of the work.
_SHORT = ((4, 4, 32), (4, 2, 64), (4, 2, 128), (4, 2, 128), (3, 1, 64), (3, 1, 32))


@dataclass(frozen=True)
class DetectorConfig:
    """What a detector is built from.

    Attributes:
        autoencoder: the autoencoder.
        segmenter: the network that finds faults in an image and its reconstruction; None where a pixel's residual alone
            tells how faulty it is.
    """

    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    segmenter: SegmenterConfig | None = None

    @classmethod
    def discriminative(cls) -> "DetectorConfig":
        """An autoencoder and a segmenter for 256 px, as in DRAEM (Zavrtanik et al., ICCV 2021)."""
        autoencoder = AutoencoderConfig(input_size=256, layers=_SHORT, bottleneck=500, norm="batch")
        return cls(autoencoder, SegmenterConfig())


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Output:
    """A detector's output for b images.

    Attributes:
        reconstructions: the autoencoder's.
        logits: of each pixel being faulty; None without a segmenter.
    """

    reconstructions: Float[Array, "b s s 3"]
    logits: Float[Array, "b s s"] | None


class Detector(nnx.Module):
    """Images [b, s, s, 3] in [0, 1] -> Output.

    Args:
        config: the networks.
        rngs: draws the parameters.
    """

    def __init__(self, config: DetectorConfig | None = None, *, rngs: nnx.Rngs):
        config = DetectorConfig() if config is None else config
        self.autoencoder = Autoencoder(config.autoencoder, rngs=rngs)
        self.segmenter: Segmenter | None = nnx.data(None)
        if config.segmenter is not None:
            dtype = activation_dtype(config.autoencoder.dtype)
            self.segmenter = Segmenter(config.segmenter, dtype=dtype, rngs=rngs)

    def __call__(self, images: Float[Array, "b s s 3"]) -> Output:
        reconstructions = self.autoencoder(images)
        if self.segmenter is None:
            return Output(reconstructions, None)
        # The autoencoder is trained by its own loss only, not to make the segmenter's task easy.
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
