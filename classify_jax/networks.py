"""Classification networks by name."""

import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from convnets_jax import torchvision, zoo
from convnets_jax.googlenet import GoogLeNet
from convnets_jax.precision import Dtype, activation_dtype
from convnets_jax.resnet import ResNet, ResNetConfig, ResNetFeatures
from convnets_jax.transfer import NewHead, TransferConfig, check_blocks
from engine_jax.config import AtLeastOne
from engine_jax.errors import UserError
from engine_jax.state import abstract_model, check_memory, variables_by_name

# A ResNet of four blocks whose widths make a step of 64 px images cheap on CPU.
NARROW = "resnet10_narrow"
_NARROW = ResNetConfig(blocks=(1, 1, 1, 1), widths=(16, 32, 64, 128))


@dataclass(frozen=True)
class ModelConfig:
    """The network of a run.

    Attributes:
        name: one of `convnets_jax.create`, or "resnet10_narrow", which is small enough for a CPU.
        input_size: height and width of its input in pixels.
        weights: torchvision's weights to start training from, a .safetensors or .pth file; "" for random ones. All
            layers of the network are taken from it but those of the classes, which are new; of a file of features
            alone, the features.
        head: widths of new hidden layers on the averaged features, instead of the network's own classifier; () keeps
            the latter.
        dtype: of activations; "auto" is bfloat16 on accelerators and float32 on CPU.
    """

    name: str = "resnet18"
    input_size: Annotated[int, AtLeastOne] = 224
    weights: str = ""
    head: tuple[Annotated[int, AtLeastOne], ...] = ()
    dtype: Dtype = "auto"


def build(config: ModelConfig, num_classes: int, *, rngs: nnx.Rngs) -> nnx.Module:
    """The network for images [b, s, s, 3], with random weights.

    Raises:
        UserError: for an unknown name.
    """
    dtype = activation_dtype(config.dtype)
    narrow = config.name == NARROW
    if not narrow and config.name not in zoo.MODELS:
        accepted = ", ".join((NARROW, *zoo.MODELS))
        raise UserError(f"config.model.name: {config.name!r}; accepted: {accepted}")
    if config.head:
        if narrow:
            features = ResNetFeatures(_NARROW, dtype=dtype, rngs=rngs)
        else:
            features = zoo.create_features(config.name, dtype=dtype, rngs=rngs)
        return NewHead(features, config.head, num_classes, dtype=dtype, rngs=rngs)
    if narrow:
        return ResNet(replace(_NARROW, num_classes=num_classes), dtype=dtype, rngs=rngs)
    return zoo.create(config.name, num_classes, dtype=dtype, rngs=rngs)


def published_weights(config: ModelConfig) -> dict[str, jax.Array]:
    """The arrays of `config.weights` by their names in the network.

    Raises:
        UserError: when the file can't be read, or holds another architecture.
    """
    model = abstract_model(partial(build, config, 2))  # classes: any number
    _load(model, config)
    named = variables_by_name(model)
    return {name: array for name, array in named.items() if isinstance(array, jax.Array)}


def _load(model: Any, config: ModelConfig) -> list[str]:
    """Sets the arrays of a network that the file of weights has, and returns the names of its other parts."""
    if config.head:
        torchvision.load(model.features, config.weights)
        return ["head", "logits"]
    parts = ("hidden", "auxiliary")
    return torchvision.load(model, config.weights, new_logits=True, optional=parts)


def all_logits(
    model: nnx.Module, images: Float[Array, "b s s 3"], rngs: nnx.Rngs
) -> tuple[Float[Array, "b k"], ...]:
    """Logits in training, followed by those of auxiliary heads, which only GoogLeNet has."""
    if isinstance(model, GoogLeNet) and model.config.auxiliary:
        return model.all_logits(images, rngs)
    return (model(images, rngs),)  # pyright: ignore[reportCallIssue]


def check_network(config: ModelConfig, transfer: TransferConfig) -> None:
    """Checks that the network takes images of this size and has the named blocks, and that its weights can be read.

    Raises:
        UserError: usually because the images are too small for its strides; or because layers that the file of weights
            lacks would be frozen with random weights.
    """
    model: Any = abstract_model(partial(build, config, 2))  # classes: any number
    check_memory(model, "config.model")
    check_blocks(model, transfer)
    if config.weights:
        new = _load(model, config)
        logging.info("%s: all weights but those of %s", config.weights, ", ".join(new))
        if frozen := [block for block in new if not transfer.trains(block)]:
            raise UserError(
                f"config.transfer.train: {transfer.train} would freeze {', '.join(frozen)} with random weights, which "
                f"{config.weights} doesn't have; accepted: {(*transfer.train, *frozen)}"
            )
    model.eval()
    image = jax.ShapeDtypeStruct((1, config.input_size, config.input_size, 3), jnp.float32)
    try:
        nnx.eval_shape(lambda model, image: model(image), model, image)
    except UserError as error:
        raise UserError(f"config.model.input_size: {config.input_size}: {error}") from error
