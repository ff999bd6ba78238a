"""The networks by name. Where torchvision has a network, the name is torchvision's."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from convnets_jax.alexnet import AlexNet, AlexNetConfig, AlexNetFeatures
from convnets_jax.densenet import DenseNet, DenseNetConfig, DenseNetFeatures
from convnets_jax.googlenet import GoogLeNet, GoogLeNetConfig, GoogLeNetFeatures
from convnets_jax.lenet import LeNet, LeNetConfig, LeNetFeatures
from convnets_jax.mobilenet import MobileNet, MobileNetConfig, MobileNetFeatures
from convnets_jax.resnet import ResNet, ResNetConfig, ResNetFeatures
from convnets_jax.vgg import VGG, VGGConfig, VGGFeatures
from convnets_jax.zfnet import ZFNet, ZFNetConfig, ZFNetFeatures
from engine_jax.errors import UserError
from engine_jax.state import abstract_model

Classifier: TypeAlias = LeNet | AlexNet | ZFNet | VGG | GoogLeNet | ResNet | DenseNet | MobileNet
Features: TypeAlias = (
    LeNetFeatures
    | AlexNetFeatures
    | ZFNetFeatures
    | VGGFeatures
    | GoogLeNetFeatures
    | ResNetFeatures
    | DenseNetFeatures
    | MobileNetFeatures
)


@dataclass(frozen=True)
class Family:
    """The two modules of a family, both made by `module(config, dtype=..., rngs=...)`."""

    classifier: Callable[..., Classifier]
    features: Callable[..., Features]


@dataclass(frozen=True)
class Model:
    """A network that has a name.

    Attributes:
        family: its modules.
        config: makes its config for a number of classes.
        input_size: height and width in pixels of the images that it was published with.
    """

    family: Family
    config: Callable[[int], Any]
    input_size: int = 224


_LENET = Family(LeNet, LeNetFeatures)
_ALEXNET = Family(AlexNet, AlexNetFeatures)
_ZFNET = Family(ZFNet, ZFNetFeatures)
_VGG = Family(VGG, VGGFeatures)
_GOOGLENET = Family(GoogLeNet, GoogLeNetFeatures)
_RESNET = Family(ResNet, ResNetFeatures)
_DENSENET = Family(DenseNet, DenseNetFeatures)
_MOBILENET = Family(MobileNet, MobileNetFeatures)

MODELS: dict[str, Model] = {
    "lenet5": Model(_LENET, LeNetConfig.lenet5, 32),
    "alexnet": Model(_ALEXNET, AlexNetConfig.alexnet),
    "alexnet_lrn": Model(_ALEXNET, AlexNetConfig.alexnet_lrn, 227),
    "alexnet_bn": Model(_ALEXNET, AlexNetConfig.alexnet_bn, 227),
    "zfnet": Model(_ZFNET, ZFNetConfig.zfnet),
    "vgg11": Model(_VGG, VGGConfig.vgg11),
    "vgg11_lrn": Model(_VGG, VGGConfig.vgg11_lrn),
    "vgg11_bn": Model(_VGG, VGGConfig.vgg11_bn),
    "vgg13": Model(_VGG, VGGConfig.vgg13),
    "vgg13_bn": Model(_VGG, VGGConfig.vgg13_bn),
    "vgg16_conv1": Model(_VGG, VGGConfig.vgg16_conv1),
    "vgg16_conv1_bn": Model(_VGG, VGGConfig.vgg16_conv1_bn),
    "vgg16": Model(_VGG, VGGConfig.vgg16),
    "vgg16_bn": Model(_VGG, VGGConfig.vgg16_bn),
    "vgg19": Model(_VGG, VGGConfig.vgg19),
    "vgg19_bn": Model(_VGG, VGGConfig.vgg19_bn),
    "googlenet": Model(_GOOGLENET, GoogLeNetConfig.googlenet),
    "resnet18": Model(_RESNET, ResNetConfig.resnet18),
    "resnet34": Model(_RESNET, ResNetConfig.resnet34),
    "resnet50": Model(_RESNET, ResNetConfig.resnet50),
    "resnet101": Model(_RESNET, ResNetConfig.resnet101),
    "resnet152": Model(_RESNET, ResNetConfig.resnet152),
    "preact_resnet18": Model(_RESNET, ResNetConfig.preact_resnet18),
    "preact_resnet34": Model(_RESNET, ResNetConfig.preact_resnet34),
    "preact_resnet50": Model(_RESNET, ResNetConfig.preact_resnet50),
    "preact_resnet101": Model(_RESNET, ResNetConfig.preact_resnet101),
    "preact_resnet152": Model(_RESNET, ResNetConfig.preact_resnet152),
    "densenet121": Model(_DENSENET, DenseNetConfig.densenet121),
    "densenet169": Model(_DENSENET, DenseNetConfig.densenet169),
    "densenet201": Model(_DENSENET, DenseNetConfig.densenet201),
    "mobilenet_v1": Model(_MOBILENET, MobileNetConfig.mobilenet_v1),
    "mobilenet_v1_075": Model(_MOBILENET, MobileNetConfig.mobilenet_v1_075),
    "mobilenet_v1_050": Model(_MOBILENET, MobileNetConfig.mobilenet_v1_050),
    "mobilenet_v1_025": Model(_MOBILENET, MobileNetConfig.mobilenet_v1_025),
}


def create(
    name: str, num_classes: int = 1000, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs
) -> Classifier:
    """A classifier with random weights: normalised images [b, h, w, 3] -> logits [b, num_classes], float32.

    Args:
        name: one of `MODELS`.
        num_classes: width of the last layer.
        dtype: of activations; parameters are float32.
        rngs: draws the weights.

    Raises UserError for a name that is not there.
    """
    found = model(name)
    return found.family.classifier(found.config(num_classes), dtype=dtype, rngs=rngs)


def create_features(name: str, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs) -> Features:
    """The features of a network, without its classifier: normalised images [b, h, w, 3] -> [b, h', w', c].

    Arguments and errors are those of `create`; `output_shape` of the result tells h', w' and c.
    """
    found = model(name)
    return found.family.features(found.config(1000), dtype=dtype, rngs=rngs)


def shapes(name: str, num_classes: int = 1000) -> Classifier:
    """What `create` makes, with the shapes of arrays in place of arrays; raises what it raises."""

    return abstract_model(partial(create, name, num_classes))


def model(name: str) -> Model:
    """The entry of a name in `MODELS`; raises UserError where there is none."""
    if name not in MODELS:
        raise UserError(f"there is no network {name!r}; accepted: {', '.join(MODELS)}")
    return MODELS[name]
