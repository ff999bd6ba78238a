"""Where the modules of torchvision's networks are in those of this package, by name."""

from dataclasses import dataclass, field

from flax import nnx

from convnets_jax.alexnet import AlexNet, AlexNetFeatures
from convnets_jax.densenet import DenseNet, DenseNetConfig, DenseNetFeatures
from convnets_jax.googlenet import AUXILIARY_SHAPE, GoogLeNet, GoogLeNetFeatures
from convnets_jax.mobilenet_v2 import MobileNetV2, MobileNetV2Features
from convnets_jax.mobilenet_v3 import (
    STEM_WIDTH,
    MobileNetV3,
    MobileNetV3Config,
    MobileNetV3Features,
)
from convnets_jax.resnet import ResNet, ResNetConfig, ResNetFeatures
from convnets_jax.vgg import VGG, VGGConfig, VGGFeatures
from engine_jax.errors import UserError


@dataclass(frozen=True)
class Names:
    """Where torchvision's modules are in one of our networks.

    Attributes:
        modules: from torchvision's name to the path in our classifier.
        flattened: for each linear layer that reads flattened features, their (h, w, c).
        prefix: the part of the classifier to load, "" for all of it.
        without: parts of the classifier that this one doesn't have, by its config.
    """

    modules: dict[str, str]
    flattened: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    prefix: str = ""
    without: tuple[str, ...] = ()

    def ignores(self, place: str, new_logits: bool) -> bool:
        return (
            not place.startswith(self.prefix)
            or place.startswith(self.without)
            or (new_logits and is_last(place))
        )


def is_last(place: str) -> bool:
    """Whether a place is in the layer of the classes, or that of an auxiliary classifier."""
    return "logits" in place.split(".")


def names_for(model: nnx.Module) -> Names:
    """The places of torchvision's modules in a network, or in the features of one.

    Raises UserError for networks that torchvision doesn't have.
    """
    match model:
        case AlexNet(config=config) | AlexNetFeatures(config=config) if config.norm == "none":
            names = _alexnet()
        case VGG(config=config) | VGGFeatures(config=config) if config.norm != "lrn":
            names = _vgg(config)
        case GoogLeNet() | GoogLeNetFeatures():
            names = _googlenet()
        case ResNet(config=config) | ResNetFeatures(config=config) if not config.pre_activation:
            names = _resnet(config)
        case DenseNet(config=config) | DenseNetFeatures(config=config):
            names = _densenet(config)
        case MobileNetV2() | MobileNetV2Features():
            names = _mobilenet_v2()
        case MobileNetV3(config=config) | MobileNetV3Features(config=config):
            names = _mobilenet_v3(config)
        case _:
            config = getattr(model, "config", None)
            raise UserError(
                f"torchvision has no weights for {type(model).__name__} of {config}: it has alexnet, vgg (with batch "
                "norm or no norm), googlenet, resnet (not pre-activation), densenet, mobilenet_v2 and mobilenet_v3"
            )
    flattened, without = {}, ()
    match model:
        case AlexNet() | VGG():
            flattened["hidden.0"] = model.features.output_shape(model.config.input_size)
        case GoogLeNet():
            flattened |= {
                "auxiliary.0.hidden": AUXILIARY_SHAPE,
                "auxiliary.1.hidden": AUXILIARY_SHAPE,
            }
            without = () if model.config.auxiliary else ("auxiliary.",)
        case _:
            pass
    prefix = "" if hasattr(model, "logits") else "features."
    return Names(names, flattened, prefix, without)


def _alexnet() -> dict[str, str]:
    return {
        "features.0": "features.convs.0",
        "features.3": "features.convs.1",
        "features.6": "features.convs.2",
        "features.8": "features.convs.3",
        "features.10": "features.convs.4",
        "classifier.1": "hidden.0",
        "classifier.4": "hidden.1",
        "classifier.6": "logits",
    }


def _vgg(config: VGGConfig) -> dict[str, str]:
    """torchvision numbers convolutions, batch norms, ReLUs and pools consecutively."""
    names = {"classifier.0": "hidden.0", "classifier.3": "hidden.1", "classifier.6": "logits"}
    number = 0
    for i, kernels in enumerate(config.kernels):
        for j in range(len(kernels)):
            names[f"features.{number}"] = f"features.stages.{i}.convs.{j}"
            if config.norm == "batch":
                number += 1
                names[f"features.{number}"] = f"features.stages.{i}.norms.{j}"
            number += 2  # past the ReLU
        number += 1  # past the pool
    return names


def _googlenet() -> dict[str, str]:
    blocks = {
        f"inception{stage + 3}{'abcde'[block]}": f"features.stages.{stage}.blocks.{block}"
        for stage, count in enumerate((2, 5, 2))
        for block in range(count)
    }
    branches = {
        "branch1": "point",
        "branch2.0": "middle_reduction",
        "branch2.1": "middle",
        "branch3.0": "wide_reduction",
        "branch3.1": "wide",
        "branch4.1": "pool_projection",
    }
    convs = {f"conv{i}": f"features.conv{i}" for i in (1, 2, 3)}
    convs |= {
        f"{block}.{branch}": f"{blocks[block]}.{branches[branch]}"
        for block in blocks
        for branch in branches
    }
    names = {"fc": "logits"}
    for i in (0, 1):
        convs[f"aux{i + 1}.conv"] = f"auxiliary.{i}.conv"
        names[f"aux{i + 1}.fc1"] = f"auxiliary.{i}.hidden"
        names[f"aux{i + 1}.fc2"] = f"auxiliary.{i}.logits"
    for theirs, ours in convs.items():
        names[f"{theirs}.conv"] = f"{ours}.conv"
        names[f"{theirs}.bn"] = f"{ours}.norm"
    return names


def _resnet(config: ResNetConfig) -> dict[str, str]:
    names = {"conv1": "features.conv", "bn1": "features.norm", "fc": "logits"}
    for i, count in enumerate(config.blocks):
        for j in range(count):
            theirs, ours = f"layer{i + 1}.{j}", f"features.stages.{i}.blocks.{j}"
            for k in (1, 2, 3):
                names[f"{theirs}.conv{k}"] = f"{ours}.conv{k}"
                names[f"{theirs}.bn{k}"] = f"{ours}.norm{k}"
            names[f"{theirs}.downsample.0"] = f"{ours}.shortcut.conv"
            names[f"{theirs}.downsample.1"] = f"{ours}.shortcut.norm"
    return names


def _densenet(config: DenseNetConfig) -> dict[str, str]:
    names = {
        "features.conv0": "features.conv",
        "features.norm0": "features.norm",
        "features.norm5": "features.last_norm",
        "classifier": "logits",
    }
    for i, count in enumerate(config.blocks):
        stage = f"features.stages.{i}"
        names[f"features.transition{i}.norm"] = f"{stage}.transition.norm"
        names[f"features.transition{i}.conv"] = f"{stage}.transition.conv"
        for j in range(count):
            theirs, ours = f"features.denseblock{i + 1}.denselayer{j + 1}", f"{stage}.layers.{j}"
            for k in (1, 2):  # torchvision's published files have names such as norm.1
                names[f"{theirs}.norm{k}"] = names[f"{theirs}.norm.{k}"] = f"{ours}.norm{k}"
                names[f"{theirs}.conv{k}"] = names[f"{theirs}.conv.{k}"] = f"{ours}.conv{k}"
    return names


def _mobilenet_v2() -> dict[str, str]:
    """A convolution, its norm and its activation are a module; what has no activation isn't."""
    pairs = {"features.0.0": "features.stem", "features.18.0": "features.last"}
    for i in range(17):
        theirs, ours = f"features.{i + 1}.conv", f"features.blocks.{i}"
        activated = ("expand", "depthwise") if i > 0 else ("depthwise",)
        for j, part in enumerate(activated):
            pairs[f"{theirs}.{j}.0"] = f"{ours}.{part}"
        pairs[f"{theirs}.{len(activated)}"] = f"{ours}.project"
    names = {"classifier.1": "logits"}
    return names | {name: ours for pair in pairs.items() for name, ours in _conv_norm(*pair)}


def _mobilenet_v3(config: MobileNetV3Config) -> dict[str, str]:
    count = len(config.blocks)
    pairs = {"features.0.0": "features.stem", f"features.{count + 1}.0": "features.last"}
    names = {"classifier.0": "hidden", "classifier.3": "logits"}
    channels = STEM_WIDTH
    for i, block in enumerate(config.blocks):
        parts = {
            "expand": config.channels(block.inside) != config.channels(channels),
            "depthwise": True,
            "squeeze": block.squeeze,
            "project": True,
        }
        for j, part in enumerate(part for part, there in parts.items() if there):
            theirs, ours = f"features.{i + 1}.block.{j}", f"features.blocks.{i}.{part}"
            if part == "squeeze":
                names[f"{theirs}.fc1"] = f"{ours}.squeeze"
                names[f"{theirs}.fc2"] = f"{ours}.excite"
            else:
                pairs[f"{theirs}.0"] = ours
        channels = block.channels
    return names | {name: ours for pair in pairs.items() for name, ours in _conv_norm(*pair)}


def _conv_norm(conv: str, ours: str) -> list[tuple[str, str]]:
    """A `ConvNorm`'s convolution and norm, the latter numbered next to the former."""
    place, _, number = conv.rpartition(".")
    return [(conv, f"{ours}.conv"), (f"{place}.{int(number) + 1}", f"{ours}.norm")]
