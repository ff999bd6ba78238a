"""The networks by name. Where torchvision has a network, the name is torchvision's."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from convnets_jax import (
    alexnet,
    densenet,
    googlenet,
    lenet,
    mobilenet,
    mobilenet_v2,
    mobilenet_v3,
    resnet,
    vgg,
    zfnet,
)
from convnets_jax.classifiers import FullyConnectedClassifier, PooledClassifier
from convnets_jax.features import Features
from engine_jax.errors import UserError
from engine_jax.state import abstract_model

Classifier: TypeAlias = FullyConnectedClassifier | PooledClassifier | lenet.LeNet


@dataclass(frozen=True)
class Model:
    """A network that has a name. Its modules are made by `module(config, dtype=..., rngs=...)`.

    Attributes:
        classifier: the whole network.
        features: its convolutions.
        config: for 1000 classes.
    """

    classifier: Callable[..., Classifier]
    features: Callable[..., Features]
    config: Any

    @property
    def input_size(self) -> int:
        """Height and width in pixels of the images that it was published with."""
        return getattr(self.config, "input_size", 224)


_FAMILIES = (
    (lenet.LeNet, lenet.LeNetFeatures, lenet.CONFIGS),
    (alexnet.AlexNet, alexnet.AlexNetFeatures, alexnet.CONFIGS),
    (zfnet.ZFNet, zfnet.ZFNetFeatures, zfnet.CONFIGS),
    (vgg.VGG, vgg.VGGFeatures, vgg.CONFIGS),
    (googlenet.GoogLeNet, googlenet.GoogLeNetFeatures, googlenet.CONFIGS),
    (resnet.ResNet, resnet.ResNetFeatures, resnet.CONFIGS),
    (densenet.DenseNet, densenet.DenseNetFeatures, densenet.CONFIGS),
    (mobilenet.MobileNet, mobilenet.MobileNetFeatures, mobilenet.CONFIGS),
    (mobilenet_v2.MobileNetV2, mobilenet_v2.MobileNetV2Features, mobilenet_v2.CONFIGS),
    (mobilenet_v3.MobileNetV3, mobilenet_v3.MobileNetV3Features, mobilenet_v3.CONFIGS),
)
MODELS: dict[str, Model] = {
    name: Model(classifier, features, config)
    for classifier, features, configs in _FAMILIES
    for name, config in configs.items()
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

    Raises UserError for an unknown name.
    """
    found = model(name)
    config = replace(found.config, num_classes=num_classes)
    return found.classifier(config, dtype=dtype, rngs=rngs)


def create_features(name: str, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs) -> Features:
    """The features of a network, without its classifier: normalised images [b, h, w, 3] -> [b, h', w', c].

    For arguments and errors see `create`; `output_shape` of the result gives h', w' and c.
    """
    found = model(name)
    return found.features(found.config, dtype=dtype, rngs=rngs)


def shapes(name: str, num_classes: int = 1000) -> Classifier:
    """The network of `create` with shapes in place of arrays; raises the same errors."""
    return abstract_model(partial(create, name, num_classes))


def model(name: str) -> Model:
    """The entry of `MODELS`; raises UserError for an unknown name."""
    if name not in MODELS:
        raise UserError(f"there is no network {name!r}; accepted: {', '.join(MODELS)}")
    return MODELS[name]
