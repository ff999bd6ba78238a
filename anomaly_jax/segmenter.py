"""A network that sees an image and its reconstruction and says which pixels are faulty.

It takes the place of a residual map: what is near a reconstruction and what is not is learned from painted faults, as
in Zavrtanik et al., "DRAEM - A discriminatively trained reconstruction embedding for surface anomaly detection", ICCV
2021, section 3.2. A small U-Net (Ronneberger et al. 2015) of residual blocks at strides 4, 8, 16 ..., whose last
convolution gives the logits of each 4 x 4 pixels as its channels.

Where both networks are trained together, let the segmenter's loss stop at the reconstruction (`jax.lax.stop_gradient`).
Otherwise the autoencoder is also paid for leaving marks that say where it saw a painted fault, and what it gives is no
longer the image without the fault.
"""

from dataclasses import dataclass
from math import log

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from convnets_jax.compact import Block, Stage, upsample
from engine_jax.errors import UserError

_STRIDE = 4  # of the finest stage
_LEAST_AREA = 0.001  # below which a fault's pixels don't gain more weight
_PRIOR = 0.01  # of a fault, at first; Lin et al. 2017, section 3.3.


@dataclass(frozen=True)
class SegmenterConfig:
    """What a segmenter is built from.

    Attributes:
        widths: channels of the stages at strides 4, 8, 16 and so on.
        blocks: residual blocks of each stage on the way down.
        up_blocks: residual blocks of each stage on the way up.
    """

    widths: tuple[int, ...] = (32, 64, 128, 128)
    blocks: tuple[int, ...] = (1, 1, 1, 1)
    up_blocks: int = 1

    def __post_init__(self):
        if not self.widths or len(self.blocks) != len(self.widths):
            raise UserError(
                f"SegmenterConfig.widths is {self.widths} and blocks is {self.blocks}: give each "
                "stage, one at least, its channels and its blocks"
            )
        if min(self.widths) < 1 or min(*self.blocks, self.up_blocks) < 0:
            raise UserError(f"SegmenterConfig holds a width below 1 or blocks below 0: {self}")

    @property
    def coarsest_stride(self) -> int:
        """Input sides are multiples of it."""
        return _STRIDE * 2 ** (len(self.widths) - 1)


class Merge(nnx.Module):
    """Brings a coarse map to the next finer stage: [b, h, w, c], [b, 2 h, 2 w, d] -> [b, 2 h, 2 w, d]."""

    def __init__(self, coarse: int, fine: int, blocks: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.lateral = nnx.Conv(coarse, fine, (1, 1), use_bias=False, dtype=dtype, rngs=rngs)
        self.norm = nnx.BatchNorm(fine, momentum=0.9, dtype=dtype, rngs=rngs)
        self.blocks = nnx.List([Block(fine, dtype=dtype, rngs=rngs) for _ in range(blocks)])

    def __call__(self, coarse: jax.Array, fine: jax.Array) -> jax.Array:
        x = nnx.relu(fine + upsample(self.norm(self.lateral(coarse))))
        for block in self.blocks:
            x = block(x)
        return x


class Segmenter(nnx.Module):
    """Images and reconstructions, [b, s, s, 3] each -> logits [b, s, s], float32: above 0 is rather faulty than good.

    `train()` and `eval()`, or `nnx.view(model, use_running_average=...)`, choose between the statistics of the batch
    and the running ones.

    Args:
        config: the network.
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
        # Nothing looks faulty to it at first: the prior alone decides.
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
    """Focal loss, the mean over each image's pixels of -(1 - p)^gamma log p, p the probability of what the mask says.

    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation 4. With gamma = 0 it is the cross entropy.
    A fault counts as its area, so that a thin stroke is hardly heard beside a displaced part, unless `area` gives all
    faults one: the weight of faulty pixels, alpha in equation 5, then follows from the image's mask.

    Args:
        logits: of a pixel being faulty.
        masks: 1 where it is, else 0.
        gamma: 0 or more; how much less pixels count that are found already.
        area: the part of the image that its faulty pixels together count as, whatever their number; fewer than a
            thousandth of the pixels count less. None: every pixel counts the same.

    Raises:
        ValueError: the shapes are not the same [b, h, w].
    """
    if logits.ndim != 3 or logits.shape != masks.shape:
        raise ValueError(
            f"logits and masks must be of one shape [b, h, w], not {logits.shape} and {masks.shape}"
        )
    towards = jnp.where(masks > 0, logits, -logits)  # Its sigmoid is p.
    # As an exponential, (1 - p)^gamma has a finite gradient where p rounds to 1.
    losses = -jnp.exp(gamma * nnx.log_sigmoid(-towards)) * nnx.log_sigmoid(towards)
    if area is not None:
        covered = masks.mean((1, 2), keepdims=True)
        losses = losses * jnp.where(masks > 0, area / jnp.maximum(covered, _LEAST_AREA), 1)
    return losses.mean((1, 2))
