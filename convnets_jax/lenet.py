"""LeNet-5 (LeCun, Bottou, Bengio and Haffner, Proceedings of the IEEE 86, 1998), in the form that is in use today.

C(6) - P - C(16) - P - C(120) - F(84) - F(classes), filters of 5x5, pools of 2x2 at stride 2. The paper joins each map
of its second convolution to only some of the maps below, gives every pooled map a weight and a bias, and compares the
last layer with drawn characters. Here every map is joined to all below, pools are plain, and the output is logits.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from convnets_jax import initializers, layers
from convnets_jax.layers import Window
from engine_jax.errors import UserError

Form = Literal["tanh", "relu"]

_KERNEL = 5


@dataclass(frozen=True)
class LeNetConfig:
    """What a LeNet is built from.

    Attributes:
        input_size: height and width in pixels of the images that the F layers are made for.
        in_channels: of the images: 3, or 1 for gray ones as in the paper.
        widths: channels of the three convolutions.
        hidden: width of the hidden F layer.
        num_classes: width of the last layer.
        form: "tanh" with average pools, as in the paper, or "relu" with maximum pools.
    """

    input_size: int = 32
    in_channels: int = 3
    widths: tuple[int, int, int] = (6, 16, 120)
    hidden: int = 84
    num_classes: int = 1000
    form: Form = "tanh"

    def __post_init__(self):
        if self.form not in get_args(Form):
            raise UserError(f"LeNetConfig.form is {self.form!r}: use 'tanh', 'relu'")
        if self.in_channels not in (1, 3):
            raise UserError(f"LeNetConfig.in_channels is {self.in_channels}: use 1 or 3")
        if len(self.widths) != 3:
            raise UserError(
                f"LeNetConfig.widths is {self.widths}: give the channels of three convolutions"
            )
        if min(self.input_size, *self.widths, self.hidden, self.num_classes) < 1:
            raise UserError(f"LeNetConfig holds a size below 1: {self}")

    @classmethod
    def lenet5(cls, num_classes: int = 1000, in_channels: int = 3) -> "LeNetConfig":
        """LeNet-5: 61,706 parameters for 10 classes of gray images."""
        return cls(num_classes=num_classes, in_channels=in_channels)


class LeNetFeatures(nnx.Module):
    """The three convolutions of LeNet: [b, h, w, 3 or 1] -> [b, h', w', c].

    Parameters are float32, activations are `dtype`.

    Attributes:
        config: what it was built from.
        out_channels: c.
    """

    def __init__(self, config: LeNetConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.out_channels = config.widths[-1]
        self.convs = nnx.List([])
        channels = config.in_channels
        for width in config.widths:
            self.convs.append(
                nnx.Conv(
                    channels,
                    width,
                    (_KERNEL, _KERNEL),
                    padding="VALID",
                    dtype=dtype,
                    kernel_init=_kernel_init(config.form),
                    rngs=rngs,
                )
            )
            channels = width

    def output_shape(self, size: int | tuple[int, int]) -> tuple[int, int, int]:
        """(h', w', c) of the features of an image of `size` pixels, one number or (height, width).

        Raises UserError for an image that is too small.
        """
        conv, pool = Window(_KERNEL), Window(2, stride=2)
        windows = (conv, pool, conv, pool, conv)
        return layers.feature_shape(size, windows, self.out_channels, "LeNet")

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features [b, h', w', c] of images [b, h, w, 3 or 1].

        Raises UserError for an array of another shape and for images that are too small.
        """
        layers.check_images(x, "this LeNet", self.config.in_channels)
        self.output_shape((x.shape[1], x.shape[2]))
        first, second, third = self.convs
        x = self._pool(_activation(first(x), self.config.form))  # [b, 14, 14, 6] of 32 px
        x = self._pool(_activation(second(x), self.config.form))  # [b, 5, 5, 16]
        return _activation(third(x), self.config.form)  # [b, 1, 1, 120]

    def _pool(self, x: jax.Array) -> jax.Array:
        if self.config.form == "relu":
            return layers.max_pool(x, 2, 2)
        return nnx.avg_pool(x, (2, 2), (2, 2))


class LeNet(nnx.Module):
    """LeNet with its F layers: images [b, h, w, 3 or 1] -> logits [b, num_classes].

    Features of images of another size than the config's are averaged to the cells that the F layers are made for.
    Parameters and logits are float32, activations are `dtype`.

    Attributes:
        config: what it was built from.
        features: the convolutions.
        hidden: the hidden F layer.
        logits: the last layer.
    """

    def __init__(self, config: LeNetConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.features = LeNetFeatures(config, dtype=dtype, rngs=rngs)
        height, width, channels = self.features.output_shape(config.input_size)
        self.hidden = nnx.Linear(
            height * width * channels,
            config.hidden,
            dtype=dtype,
            kernel_init=_kernel_init(config.form),
            rngs=rngs,
        )
        self.logits = nnx.Linear(
            config.hidden, config.num_classes, kernel_init=initializers.lecun_normal(), rngs=rngs
        )

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Logits [b, num_classes] of images [b, h, w, 3 or 1]; `rngs` is not used.

        Raises UserError for an array of another shape and for images that are too small.
        """
        del rngs
        x = self.features(x)
        height, width, _ = self.features.output_shape(self.config.input_size)
        x = layers.adaptive_avg_pool(x, (height, width))
        x = _activation(self.hidden(x.reshape(len(x), -1)), self.config.form)  # [b, 84]
        return self.logits(x.astype(jnp.float32))  # [b, num_classes]


def _activation(x: jax.Array, form: Form) -> jax.Array:
    """ReLU, or 1.7159 tanh(2/3 x), which has -1 and 1 as fixed points (appendix A of the paper)."""
    return nnx.relu(x) if form == "relu" else 1.7159 * jnp.tanh(2 / 3 * x)


def _kernel_init(form: Form) -> nnx.Initializer:
    return initializers.he_normal() if form == "relu" else initializers.lecun_normal()
