"""AlexNet (Krizhevsky, Sutskever and Hinton, NIPS 2012), in one tower as DeepPose (CVPR 2014) has it, or in two.

C(96) - LRN - P - C(256) - LRN - P - C(384) - C(384) - C(256) - P - F(4096) - F(4096) - F(outputs).
C are convolutions and F fully connected layers. A ReLU follows every C and every hidden F; every P is the maximum over
3x3 windows at stride 2. LRN is local response normalisation.
torchvision's `alexnet` is narrower, after Krizhevsky's "One weird trick" (arXiv 1404.5997), and has no normalisation.
"""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from convnets_jax import initializers, layers, pooling
from convnets_jax.classifiers import FullyConnectedClassifier
from convnets_jax.config_checks import check_at_least, check_dropout, check_literals, field_error
from convnets_jax.features import Features, Window

Norm = Literal["lrn", "batch", "none"]
Padding = Literal["SAME", "VALID"] | int
Init = Literal["alexnet", "he", "lecun"]

_KERNELS = (5, 3, 3, 3)  # of the second convolution and on; all have stride 1 and padding SAME
_POOLED = (True, True, False, False, True)  # a pool follows the convolution
_LRN = (True, True, False, False, False)  # local response normalisation follows the convolution
_POOL = Window(3, stride=2)
_GROUPED = (False, True, False, True, True)  # with two towers, the convolution reads one of them


@dataclass(frozen=True)
class AlexNetConfig:
    """Configuration of an AlexNet.

    Attributes:
        input_size: height and width in pixels of the images that the fully connected layers are made for.
        widths: channels of the five convolutions.
        first_kernel: height and width of the first convolution's filters.
        first_stride: stride of the first convolution.
        first_padding: "SAME" takes 220 pixels to 55, as in DeepPose; "VALID" takes 227 to 55; or pixels on each side,
            2 in torchvision, which takes 224 to 55.
        towers: 1, or 2 as in the paper: convolutions 2, 4 and 5 then read only one half of the channels.
        norm: "lrn" after the ReLU of the first two convolutions, "batch" before the ReLU of every convolution and
            hidden layer, or "none".
        hidden: widths of the hidden fully connected layers.
        dropout: share of the hidden layers' outputs that is dropped in training.
        num_classes: width of the last layer: classes, or 2k coordinates.
        init: "alexnet" draws weights with a standard deviation of 0.01 and sets the biases of convolutions 2, 4 and 5
            and of the hidden layers to 1 (section 5 of the paper); "he" and "lecun" scale weights by their fan-in and
            set biases to 0.
    """

    input_size: int = 227
    widths: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256)
    first_kernel: int = 11
    first_stride: int = 4
    first_padding: Padding = "VALID"
    towers: int = 1
    norm: Norm = "lrn"
    hidden: tuple[int, ...] = (4096, 4096)
    dropout: float = 0.5
    num_classes: int = 1000
    init: Init = "alexnet"

    def __post_init__(self):
        check_literals(self, norm=Norm, init=Init)
        padding = self.first_padding
        if padding not in ("SAME", "VALID") and not (isinstance(padding, int) and padding >= 0):
            raise field_error(self, "first_padding", "'SAME', 'VALID' or pixels, 0 or more")
        if len(self.widths) != 5:
            raise field_error(self, "widths", "the channels of five convolutions")
        if self.towers not in (1, 2) or any(width % self.towers for width in self.widths):
            raise field_error(self, "towers", f"1, or 2 if all widths, {self.widths}, are even")
        check_dropout(self, "dropout")
        sizes = ("input_size", "widths", "first_kernel", "first_stride", "hidden", "num_classes")
        check_at_least(self, 1, *sizes)

    @classmethod
    def deeppose(cls, num_joints: int = 14) -> "AlexNetConfig":
        """DeepPose's network for k joints: 220 pixels, dropout 0.6, 2k outputs."""
        return cls(
            input_size=220, first_padding="SAME", dropout=0.6, num_classes=2 * num_joints, init="he"
        )

    @classmethod
    def two_towers(cls, num_classes: int = 1000) -> "AlexNetConfig":
        """The paper's own form, which it spreads over two GPUs: 60,965,224 parameters for 1000 classes."""
        return cls(towers=2, num_classes=num_classes)


CONFIGS = {
    # torchvision's form: 61,100,840 parameters for 1000 classes. Dropout follows the hidden layers, as in the paper; in
    # torchvision it precedes them, which is the same network in evaluation.
    "alexnet": AlexNetConfig(
        input_size=224, widths=(64, 192, 384, 256, 256), first_padding=2, norm="none", init="he"
    ),
    "alexnet_lrn": AlexNetConfig(),  # 62,378,344 parameters
    "alexnet_bn": AlexNetConfig(norm="batch", init="he"),
}


def _kernel_init(init: Init) -> nnx.Initializer:
    if init == "alexnet":
        return initializers.normal(0.01)
    return initializers.he_normal() if init == "he" else initializers.lecun_normal()


def _bias_init(init: Init, one: bool) -> nnx.Initializer:
    return nnx.initializers.constant(1.0 if init == "alexnet" and one else 0.0)


class AlexNetFeatures(Features):
    """The five convolutions of AlexNet with normalisation and pools: [b, h, w, 3] -> [b, h', w', c]."""

    def __init__(self, config: AlexNetConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.out_channels = config.widths[-1]
        self.convs = nnx.List([])
        self.norms = nnx.List([])
        channels = 3
        for i, (width, kernel) in enumerate(
            zip(config.widths, (config.first_kernel, *_KERNELS), strict=True)
        ):
            self.convs.append(
                nnx.Conv(
                    channels,
                    width,
                    (kernel, kernel),
                    strides=config.first_stride if i == 0 else 1,
                    padding=config.first_padding if i == 0 else "SAME",
                    feature_group_count=config.towers if _GROUPED[i] else 1,
                    dtype=dtype,
                    kernel_init=_kernel_init(config.init),
                    bias_init=_bias_init(config.init, one=i in (1, 3, 4)),
                    rngs=rngs,
                )
            )
            if config.norm == "batch":
                self.norms.append(layers.batch_norm(width, dtype=dtype, rngs=rngs))
            channels = width

    def windows(self) -> list[Window]:
        config = self.config
        if config.first_padding == "SAME":
            first = Window(1, config.first_stride)  # only the stride counts
        else:
            padding = 0 if config.first_padding == "VALID" else config.first_padding
            first = Window(config.first_kernel, config.first_stride, padding)
        return [first, *[_POOL] * sum(_POOLED)]

    def __call__(self, x: jax.Array) -> jax.Array:
        self.check(x)
        rows, columns = (self._extra_pixels(side) for side in x.shape[1:3])
        x = jnp.pad(x, ((0, 0), (0, rows), (0, columns), (0, 0)))
        for i, conv in enumerate(self.convs):
            x = conv(x)
            if self.norms:
                x = self.norms[i](x)
            x = nnx.relu(x)
            if self.config.norm == "lrn" and _LRN[i]:
                x = layers.local_response_norm(x)
            if _POOLED[i]:
                x = pooling.max_pool(x, *_POOL)
        return x  # [b, h', w', c]

    def _extra_pixels(self, size: int) -> int:
        """Pixels that make a side a multiple of the stride, where no filter reads them, else 0.

        227 becomes 228 with the same features, on which XLA's convolution is faster on CPU.
        """
        config = self.config
        more = -size % config.first_stride
        spare = (size - config.first_kernel) % config.first_stride + more < config.first_stride
        return more if config.first_padding == "VALID" and spare else 0


class AlexNet(FullyConnectedClassifier):
    """AlexNet with its fully connected layers: images [b, h, w, 3] -> logits [b, num_classes]."""

    def __init__(self, config: AlexNetConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        super().__init__(
            AlexNetFeatures(config, dtype=dtype, rngs=rngs),
            normalised=config.norm == "batch",
            kernel_init=_kernel_init(config.init),
            bias_init=_bias_init(config.init, one=True),
            logits_init=_kernel_init(config.init),
            dtype=dtype,
            rngs=rngs,
        )
