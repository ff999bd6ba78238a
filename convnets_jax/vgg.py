"""VGG (Simonyan and Zisserman, ICLR 2015, table 1): stages of 3x3 convolutions, each with a pool of 2x2 at stride 2.

Three fully connected layers follow, of 4096, 4096 and `num_classes` outputs. A ReLU follows every convolution and every
hidden layer. Batch normalisation, if any, comes before the ReLU of the convolutions, which keep their biases, as in
torchvision.
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
Stages = tuple[tuple[int, ...], ...]

# The sides of the filters of each stage, in the paper's configurations.
_A: Stages = ((3,), (3,), (3, 3), (3, 3), (3, 3))
_B: Stages = ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3))
_C: Stages = ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1))
_D: Stages = ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))
_E: Stages = ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3))


@dataclass(frozen=True)
class VGGConfig:
    """Configuration of a VGG.

    Attributes:
        kernels: of each stage, the sides of its convolutions' filters, 1 or 3.
        widths: channels of each stage.
        norm: "lrn" after the first convolution, "batch" after each convolution, or "none".
        input_size: height and width in pixels of the images that the fully connected layers are made for.
        hidden: widths of the hidden fully connected layers.
        dropout: share of the hidden layers' outputs that is dropped in training.
        num_classes: width of the last layer.
    """

    kernels: Stages
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    norm: Norm = "none"
    input_size: int = 224
    hidden: tuple[int, ...] = (4096, 4096)
    dropout: float = 0.5
    num_classes: int = 1000

    def __post_init__(self):
        check_literals(self, norm=Norm)
        if not self.kernels or not all(self.kernels) or {*sum(self.kernels, ())} - {1, 3}:
            raise field_error(self, "kernels", "for each stage one side or more, of 1 or 3")
        if len(self.widths) != len(self.kernels):
            raise field_error(self, "widths", f"one for each of the {len(self.kernels)} stages")
        check_dropout(self, "dropout")
        check_at_least(self, 1, "input_size", "widths", "hidden", "num_classes")


CONFIGS = {
    "vgg11": VGGConfig(_A),
    "vgg11_lrn": VGGConfig(_A, norm="lrn"),
    "vgg11_bn": VGGConfig(_A, norm="batch"),
    "vgg13": VGGConfig(_B),
    "vgg13_bn": VGGConfig(_B, norm="batch"),
    "vgg16_conv1": VGGConfig(_C),
    "vgg16_conv1_bn": VGGConfig(_C, norm="batch"),
    "vgg16": VGGConfig(_D),
    "vgg16_bn": VGGConfig(_D, norm="batch"),
    "vgg19": VGGConfig(_E),
    "vgg19_bn": VGGConfig(_E, norm="batch"),
}


class Stage(nnx.Module):
    """Convolutions of one width, each with a ReLU, then a pool: [b, h, w, i] -> [b, h / 2, w / 2, c]."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernels: tuple[int, ...],
        norm: Norm,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.norm: Norm = norm
        self.convs = nnx.List([])
        self.norms = nnx.List([])
        for kernel in kernels:
            conv = layers.conv(in_channels, channels, kernel, bias=True, dtype=dtype, rngs=rngs)
            self.convs.append(conv)
            if norm == "batch":
                self.norms.append(layers.batch_norm(channels, dtype=dtype, rngs=rngs))
            in_channels = channels

    def __call__(self, x: jax.Array) -> jax.Array:
        for i, conv in enumerate(self.convs):
            x = conv(x)
            if self.norms:
                x = self.norms[i](x)
            x = nnx.relu(x)
        if self.norm == "lrn":
            x = layers.local_response_norm(x)
        return pooling.max_pool(x, 2, 2)


class VGGFeatures(Features):
    """The stages of a VGG: [b, h, w, 3] -> [b, h / 32, w / 32, c], sides rounded down."""

    def __init__(self, config: VGGConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.out_channels = config.widths[-1]
        self.stages = nnx.List([])
        channels = 3
        for i, (width, kernels) in enumerate(zip(config.widths, config.kernels, strict=True)):
            norm = "none" if config.norm == "lrn" and i > 0 else config.norm
            self.stages.append(Stage(channels, width, kernels, norm, dtype=dtype, rngs=rngs))
            channels = width

    def windows(self) -> list[Window]:
        return [Window(2, stride=2)] * len(self.stages)

    def __call__(self, x: jax.Array) -> jax.Array:
        self.check(x)
        for stage in self.stages:
            x = stage(x)
        return x  # [b, h', w', c]


class VGG(FullyConnectedClassifier):
    """A VGG with its fully connected layers: images [b, h, w, 3] -> logits [b, num_classes]."""

    def __init__(self, config: VGGConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        features = VGGFeatures(config, dtype=dtype, rngs=rngs)
        super().__init__(features, logits_init=initializers.normal(0.01), dtype=dtype, rngs=rngs)
