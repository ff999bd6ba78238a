"""A network that finds the faulty pixels of an image, given the image and its reconstruction.

It replaces a residual map: which differences between the two count is learned from painted faults, as in Zavrtanik et
al., "DRAEM - A discriminatively trained reconstruction embedding for surface anomaly detection", ICCV 2021, section
3.2. It is a small U-Net (Ronneberger et al. 2015) of residual blocks at strides 4, 8, 16 and so on, whose last
convolution has the logits of 4 x 4 pixels as channels.

When both networks are trained together, stop the gradient of the segmenter's loss at the reconstruction
(`jax.lax.stop_gradient`). Otherwise the autoencoder learns to mark painted faults for the segmenter, and its output is
no longer the image without the fault.
"""

from dataclasses import dataclass
from math import log

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from convnets_jax.compact import Block, Stage, upsample
from convnets_jax.config_checks import check_at_least, field_error
from convnets_jax.layers import batch_norm

_STRIDE = 4  # of the finest stage
_LEAST_AREA = 0.001  # the weight of a fault's pixels doesn't grow further below this area
_PRIOR = 0.01  # initial probability of a fault; Lin et al. 2017, section 3.3


@dataclass(frozen=True)
class SegmenterConfig:
    """Configuration of a segmenter.

    Attributes:
        widths: channels of the stages at strides 4, 8, 16 and so on.
        blocks: residual blocks of each stage on the way down.
        up_blocks: residual blocks of each stage on the way up.
    """

    widths: tuple[int, ...] = (32, 64, 128, 128)
    blocks: tuple[int, ...] = (1, 1, 1, 1)
    up_blocks: int = 1

    def __post_init__(self):
        if not self.widths:
            raise field_error(self, "widths", "the channels of one stage or more")
        if len(self.blocks) != len(self.widths):
            raise field_error(self, "blocks", f"one count for each of {len(self.widths)} widths")
        check_at_least(self, 1, "widths")
        check_at_least(self, 0, "blocks", "up_blocks")

    @property
    def coarsest_stride(self) -> int:
        """Input sides are multiples of it."""
        return _STRIDE * 2 ** (len(self.widths) - 1)


class Merge(nnx.Module):
    """Adds a coarse map to that of the next finer stage: [b, h, w, c], [b, 2 h, 2 w, d] -> [b, 2 h, 2 w, d]."""

    def __init__(self, coarse: int, fine: int, blocks: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.lateral = nnx.Conv(coarse, fine, (1, 1), use_bias=False, dtype=dtype, rngs=rngs)
        self.norm = batch_norm(fine, dtype=dtype, rngs=rngs)
        self.blocks = nnx.List([Block(fine, dtype=dtype, rngs=rngs) for _ in range(blocks)])

    def __call__(self, coarse: jax.Array, fine: jax.Array) -> jax.Array:
        x = nnx.relu(fine + upsample(self.norm(self.lateral(coarse))))
        for block in self.blocks:
            x = block(x)
        return x


class Segmenter(nnx.Module):
    """Images and reconstructions, [b, s, s, 3] each -> logits [b, s, s], float32.

    Positive logits mean more likely faulty than good. `train()` and `eval()`, or `nnx.view(model,
    use_running_average=...)`, choose between the statistics of the batch and the running ones.

    Args:
        config: its configuration.
        dtype: of the activations; parameters and logits are float32.
        rngs: draws the parameters.
    """

    def __init__(
        self,
        config: SegmenterConfig | None = None,
        *,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        config = SegmenterConfig() if config is None else config
        self.config = config
        self.stages = nnx.List([])
        width, stride, kernel = 6, _STRIDE, 3
        for next_width, blocks in zip(config.widths, config.blocks, strict=True):
            stage = Stage(width, next_width, stride, kernel, blocks, dtype=dtype, rngs=rngs)
            self.stages.append(stage)
            width, stride, kernel = next_width, 2, 1
        self.merges = nnx.List([])
        for fine in config.widths[-2::-1]:
            self.merges.append(Merge(width, fine, config.up_blocks, dtype=dtype, rngs=rngs))
            width = fine
        # Initial logits are the prior's everywhere.
        self.head = nnx.Conv(
            width,
            _STRIDE**2,
            (3, 3),
            kernel_init=nnx.initializers.zeros,
            bias_init=nnx.initializers.constant(log(_PRIOR / (1 - _PRIOR))),
            dtype=dtype,
            rngs=rngs,
        )

    def __call__(
        self, images: Float[Array, "b s s 3"], reconstructions: Float[Array, "b s s 3"]
    ) -> Float[Array, "b s s"]:
        """Logits.

        Raises ValueError for shapes that differ, or a side that isn't a multiple of the coarsest stage's stride.
        """
        stride = self.config.coarsest_stride
        if images.shape != reconstructions.shape or images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(
                "images and reconstructions must be of one shape [b, s, s, 3], "
                f"not {images.shape} and {reconstructions.shape}"
            )
        if images.shape[1] % stride or images.shape[2] % stride:
            raise ValueError(f"sides must be multiples of {stride} px, not {images.shape[1:3]}")
        x = jnp.concatenate([images, reconstructions], -1)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        for merge, fine in zip(self.merges, maps[-2::-1], strict=True):
            x = merge(x, fine)
        x = self.head(x).astype(jnp.float32)  # [b, s / 4, s / 4, 16]
        b, h, w, _ = x.shape
        x = x.reshape(b, h, w, _STRIDE, _STRIDE).swapaxes(2, 3)
        return x.reshape(b, _STRIDE * h, _STRIDE * w)


def focal(
    logits: Float[Array, "b h w"],
    masks: Float[Array, "b h w"],
    *,
    gamma: float = 2.0,
    area: float | None = None,
) -> Float[Array, " b"]:
    """Focal loss: the mean over each image's pixels of -(1 - p)^gamma log p, p the probability of the true class.

    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation 4. With gamma = 0 it is the cross entropy.
    A fault weighs as much as its area, so a thin stroke hardly counts beside a displaced part. With `area`, all faults
    weigh the same: the weight of faulty pixels, alpha in equation 5, then follows from the image's mask.

    Args:
        logits: of a pixel being faulty.
        masks: 1 for faulty pixels, 0 for others.
        gamma: 0 or more; the larger, the less pixels count that are classified well already.
        area: share of the image that its faulty pixels together count as, however many they are; less if they are fewer
            than a thousandth of all pixels. None: every pixel counts the same.

    Raises:
        ValueError: the shapes differ or aren't [b, h, w].
    """
    if logits.ndim != 3 or logits.shape != masks.shape:
        raise ValueError(
            f"logits and masks must be of one shape [b, h, w], not {logits.shape} and {masks.shape}"
        )
    towards = jnp.where(masks > 0, logits, -logits)  # p is its sigmoid
    # As an exponential, (1 - p)^gamma has a finite gradient where p rounds to 1.
    losses = -jnp.exp(gamma * nnx.log_sigmoid(-towards)) * nnx.log_sigmoid(towards)
    if area is not None:
        covered = masks.mean((1, 2), keepdims=True)
        losses = losses * jnp.where(masks > 0, area / jnp.maximum(covered, _LEAST_AREA), 1)
    return losses.mean((1, 2))
