"""Convolutional autoencoders: from images to a short code and back."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from convnets_jax.config_checks import check_at_least, check_literals, field_error
from convnets_jax.initializers import fan_in_normal
from convnets_jax.layers import batch_norm
from convnets_jax.precision import Dtype, activation_dtype
from convnets_jax.strided import strided_conv, transposed_conv
from engine_jax.errors import UserError

Norm = Literal["none", "batch"]
Output = Literal["sigmoid", "linear"]

# Kernel, stride, channels: the encoder of Bergmann et al. 2019 from 128 px down to 8 x 8 x 32.
PUBLISHED = (
    (4, 2, 32),
    (4, 2, 32),
    (3, 1, 32),
    (4, 2, 64),
    (3, 1, 64),
    (4, 2, 128),
    (3, 1, 64),
    (3, 1, 32),
)


@dataclass(frozen=True)
class AutoencoderConfig:
    """Configuration of an autoencoder.

    Attributes:
        input_size: s, height and width of the images in pixels; a multiple of all strides together.
        layers: (kernel, stride, channels) of the encoder's convolutions, with padding SAME and kernels at least as
            large as their strides. The decoder has the same ones, transposed, in reverse order.
        bottleneck: size of the code, which a linear layer computes from the last convolution's output.
        slope: of the Leaky ReLU for negative inputs.
        norm: "batch" normalises before each Leaky ReLU, or "none".
        output: "sigmoid", with reconstructions in [0, 1], or "linear", with unbounded ones.
        dtype: of the activations, see `activation_dtype`. Parameters, codes and reconstructions are float32.
    """

    input_size: int = 128
    layers: tuple[tuple[int, int, int], ...] = PUBLISHED
    bottleneck: int = 100
    slope: float = 0.2
    norm: Norm = "none"
    output: Output = "sigmoid"
    dtype: Dtype = "auto"

    def __post_init__(self):
        check_literals(self, norm=Norm, output=Output, dtype=Dtype)
        sizes = "(kernel, stride, channels) of at least 1, the kernel no smaller than the stride"
        if not self.layers or any(
            len(layer) != 3 or min(layer) < 1 or layer[0] < layer[1] for layer in self.layers
        ):
            raise field_error(self, "layers", sizes)
        if self.input_size < 1 or self.input_size % self.stride:
            raise field_error(
                self, "input_size", f"a multiple of {self.stride}, the product of the strides"
            )
        check_at_least(self, 1, "bottleneck")
        if not 0 <= self.slope < 1:
            raise field_error(self, "slope", "a number in [0, 1)")

    @property
    def stride(self) -> int:
        """Product of the strides of all layers."""
        return prod(stride for _, stride, _ in self.layers)

    @property
    def code_map(self) -> tuple[int, int, int]:
        """(h, w, c) of the last convolution's output."""
        side = self.input_size // self.stride
        return side, side, self.layers[-1][2]

    @classmethod
    def published(cls, input_size: int = 128, bottleneck: int = 100) -> "AutoencoderConfig":
        """The autoencoder that Bergmann et al. published; the preset `ssim` trains the one for 256 px.

        For 128 px from table 1 of "Improving Unsupervised Defect Segmentation by Applying Structural Similarity to
        Autoencoders" (VISAPP 2019), and for 256 px with one more convolution, as they extended it for MVTec AD (CVPR
        2019). Code and output are linear. Raises UserError for other sizes.
        """
        if input_size not in (128, 256):
            raise UserError(f"input_size is {input_size}: the published layers take 128 or 256 px")
        layers = PUBLISHED if input_size == 128 else ((4, 2, 32), *PUBLISHED)
        return cls(input_size=input_size, layers=layers, bottleneck=bottleneck, output="linear")


class Activation(nnx.Module):
    """Batch normalisation, if the config has it, and Leaky ReLU."""

    def __init__(
        self, channels: int, config: AutoencoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        self.slope = config.slope
        self.norms = nnx.List([])
        if config.norm == "batch":
            self.norms.append(batch_norm(channels, dtype=dtype, rngs=rngs))

    def __call__(self, x: jax.Array) -> jax.Array:
        for norm in self.norms:
            x = norm(x)
        return nnx.leaky_relu(x, self.slope)


class Autoencoder(nnx.Module):
    """Images [b, s, s, 3] in [0, 1] -> reconstructions of the same shape, float32.

    With batch normalisation, `train()` and `eval()`, or `nnx.view(model, use_running_average=...)`, choose between the
    statistics of the batch and the running ones.

    Args:
        config: its configuration.
        rngs: draws the parameters.
    """

    def __init__(self, config: AutoencoderConfig, *, rngs: nnx.Rngs):
        self.config = config
        dtype = activation_dtype(config.dtype)
        # He et al. 2015, equation 14, for layers that a Leaky ReLU follows.
        gain = 2 / (1 + config.slope**2)
        hidden, linear = fan_in_normal(gain), fan_in_normal(1)
        use_bias = config.norm == "none"
        shared = {"dtype": dtype, "rngs": rngs}
        self.encoder, self.decoder = nnx.List([]), nnx.List([])
        self.encoder_activations, self.decoder_activations = nnx.List([]), nnx.List([])

        widths = [3, *(channels for _, _, channels in config.layers)]
        for i, (kernel, stride, _) in enumerate(config.layers):
            down = nnx.Conv(
                widths[i],
                widths[i + 1],
                (kernel, kernel),
                strides=stride,
                use_bias=use_bias,
                kernel_init=hidden,
                **shared,
            )
            self.encoder.append(down)
            self.encoder_activations.append(Activation(widths[i + 1], config, **shared))
        features = prod(config.code_map)
        self.to_code = nnx.Linear(features, config.bottleneck, kernel_init=linear, **shared)
        self.from_code = nnx.Linear(
            config.bottleneck, features, use_bias=use_bias, kernel_init=hidden, **shared
        )
        for i, (kernel, stride, _) in reversed([*enumerate(config.layers)]):
            self.decoder_activations.append(Activation(widths[i + 1], config, **shared))
            up = nnx.ConvTranspose(
                widths[i + 1],
                widths[i],
                (kernel, kernel),
                strides=stride,
                use_bias=use_bias or i == 0,
                # Each output pixel is a sum over only one in stride^2 of the kernel's weights.
                kernel_init=fan_in_normal((gain if i else 1) * stride**2),
                **shared,
            )
            self.decoder.append(up)

    def __call__(self, images: Float[Array, "b s s 3"]) -> Float[Array, "b s s 3"]:
        """Reconstructions, in [0, 1] with sigmoid output.

        Raises UserError for an array of another shape or size.
        """
        return self.decode(self.encode(images))

    def encode(self, images: Float[Array, "b s s 3"]) -> Float[Array, "b d"]:
        """Codes. Raises UserError for an array of another shape or size."""
        size = self.config.input_size
        if images.ndim != 4 or images.shape[1:] != (size, size, 3):
            raise UserError(
                f"this autoencoder takes images [b, {size}, {size}, 3], "
                f"it got an array of shape {images.shape}"
            )
        x = images
        for (_, stride, _), down, activation in zip(
            self.config.layers, self.encoder, self.encoder_activations, strict=True
        ):
            x = activation(_apply(strided_conv, down, stride, x))
        return self.to_code(x.reshape(len(x), -1)).astype(jnp.float32)

    def decode(self, codes: Float[Array, "b d"]) -> Float[Array, "b s s 3"]:
        """Reconstructions from codes."""
        x = self.from_code(codes).reshape(-1, *self.config.code_map)  # [b, h, w, c]
        for (_, stride, _), activation, up in zip(
            self.config.layers[::-1], self.decoder_activations, self.decoder, strict=True
        ):
            x = _apply(transposed_conv, up, stride, activation(x))
        x = x.astype(jnp.float32)
        return nnx.sigmoid(x) if self.config.output == "sigmoid" else x


def _apply(
    convolution: Callable[[jax.Array, jax.Array, int], jax.Array],
    layer: nnx.Conv | nnx.ConvTranspose,
    stride: int,
    x: jax.Array,
) -> jax.Array:
    """Applies the layer, with padding SAME, by a convolution that is faster on CPU than the layer's own."""
    bias = None if layer.bias is None else layer.bias[...]
    x, kernel, bias = layer.promote_dtype((x, layer.kernel[...], bias), dtype=layer.dtype)
    y = convolution(x, kernel, stride)
    return y if bias is None else y + bias
