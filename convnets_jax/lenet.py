"""LeNet-5 (LeCun, Bottou, Bengio and Haffner, Proceedings of the IEEE 86, 1998), in the form that is used today.

C(6) - P - C(16) - P - C(120) - F(84) - F(classes), filters of 5x5, pools of 2x2 at stride 2. In the paper each
channel of the second convolution reads only some channels, every pooled channel has a weight and a bias, and the last
layer is compared with drawn characters. Here every channel reads all, pools have no weights, and the output is logits.
"""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from convnets_jax import initializers, pooling
from convnets_jax.config_checks import check_at_least, check_literals, field_error
from convnets_jax.features import Features, Window

Form = Literal["tanh", "relu"]

_KERNEL = 5


@dataclass(frozen=True)
class LeNetConfig:
    """Configuration of a LeNet.

    Attributes:
        input_size: height and width in pixels of the images that the fully connected layers are made for.
        in_channels: of the images: 3, or 1 for grey ones as in the paper.
        widths: channels of the three convolutions.
        hidden: width of the hidden fully connected layer.
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
        check_literals(self, form=Form)
        if self.in_channels not in (1, 3):
            raise field_error(self, "in_channels", "1 or 3")
        if len(self.widths) != 3:
            raise field_error(self, "widths", "the channels of three convolutions")
        check_at_least(self, 1, "input_size", "widths", "hidden", "num_classes")


CONFIGS = {"lenet5": LeNetConfig()}  # 61,706 parameters for 10 classes of grey images


class LeNetFeatures(Features):
    """The three convolutions of LeNet: [b, h, w, 3 or 1] -> [b, h', w', c]."""

    def __init__(self, config: LeNetConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.out_channels = config.widths[-1]
        self.convs = nnx.List([])
        shared = {"kernel_init": _kernel_init(config.form), "dtype": dtype, "rngs": rngs}
        channels = config.in_channels
        for width in config.widths:
            conv = nnx.Conv(channels, width, (_KERNEL, _KERNEL), padding="VALID", **shared)
            self.convs.append(conv)
            channels = width

    def windows(self) -> list[Window]:
        conv, pool = Window(_KERNEL), Window(2, stride=2)
        return [conv, pool, conv, pool, conv]

    def __call__(self, x: jax.Array) -> jax.Array:
        self.check(x, self.config.in_channels)
        first, second, third = self.convs
        x = self._pool(_activation(first(x), self.config.form))  # [b, 14, 14, 6] of 32 px
        x = self._pool(_activation(second(x), self.config.form))  # [b, 5, 5, 16]
        return _activation(third(x), self.config.form)  # [b, 1, 1, 120]

    def _pool(self, x: jax.Array) -> jax.Array:
        if self.config.form == "relu":
            return pooling.max_pool(x, 2, 2)
        return nnx.avg_pool(x, (2, 2), (2, 2))


class LeNet(nnx.Module):
    """LeNet with its fully connected layers: images [b, h, w, 3 or 1] -> logits [b, num_classes].

    Features of images of another size than the config's are averaged to the cells that the hidden layer is made for.
    Parameters and logits are float32, activations are `dtype`.

    Attributes:
        config: its configuration.
        features: the convolutions.
        hidden: the hidden layer.
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
        x = pooling.adaptive_avg_pool(x, (height, width))
        x = _activation(self.hidden(x.reshape(len(x), -1)), self.config.form)  # [b, 84]
        return self.logits(x.astype(jnp.float32))  # [b, num_classes]


def _activation(x: jax.Array, form: Form) -> jax.Array:
    """ReLU, or 1.7159 tanh(2/3 x), which has -1 and 1 as fixed points (appendix A of the paper)."""
    return nnx.relu(x) if form == "relu" else 1.7159 * jnp.tanh(2 / 3 * x)


def _kernel_init(form: Form) -> nnx.Initializer:
    return initializers.he_normal() if form == "relu" else initializers.lecun_normal()
