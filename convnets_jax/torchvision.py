"""Weights that torchvision publishes, in the modules of this package.

    model = convnets_jax.create("resnet50", rngs=nnx.Rngs(0))
    torchvision.load(model, "resnet50.pth")

Images are RGB in [0, 1], normalised by `convnets_jax.imagenet.normalise`; GoogLeNet takes the same images, see
`GoogLeNetConfig.transform_input`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from convnets_jax import state_dict
from convnets_jax.alexnet import AlexNet, AlexNetFeatures
from convnets_jax.densenet import DenseNet, DenseNetConfig, DenseNetFeatures
from convnets_jax.googlenet import AUXILIARY_SHAPE, GoogLeNet, GoogLeNetFeatures
from convnets_jax.resnet import ResNet, ResNetConfig, ResNetFeatures
from convnets_jax.vgg import VGG, VGGConfig, VGGFeatures
from engine_jax.errors import UserError

_LEAVES = {  # torch's name -> ours: of a convolution or a linear layer, of a batch norm
    "weight": ("kernel", "scale"),
    "bias": ("bias",),
    "running_mean": ("mean",),
    "running_var": ("var",),
}
_LISTED = 4  # tensors of each kind that an error names


def load(
    model: nnx.Module,
    path: str | Path,
    *,
    new_logits: bool = False,
    optional: tuple[str, ...] = (),
) -> list[str]:
    """Sets a module's arrays to those of torchvision's model of the same name.

    If the file's tensors and the module's arrays don't match one to one, UserError lists those without a partner and
    the module stays as it was. UserError also for files that `state_dict.read` refuses and networks that torchvision
    doesn't have.

    Args:
        model: AlexNet, VGG, GoogLeNet, ResNet or DenseNet; or the features of one, for which the classifier's tensors
            in the file are ignored.
        path: a `.safetensors` file, or a `.pth` file of a state dict, whose pickled code isn't executed.
        new_logits: leave the last layer, and those of auxiliary classifiers, as they are, for a new set of classes.
        optional: parts of the model, such as "hidden", that stay as they are if the file has nothing of them.

    Returns:
        The names of the layers and parts that stay as they are.
    """
    return assign(
        model, state_dict.read(path), new_logits=new_logits, optional=optional, source=str(path)
    )


def assign(
    model: nnx.Module,
    tensors: Mapping[str, np.ndarray | jax.Array],
    *,
    new_logits: bool = False,
    optional: tuple[str, ...] = (),
    source: str = "the state dict",
) -> list[str]:
    """`load` for a state dict in memory, with torch's names; `source` is its name in errors."""
    names = _names(model)
    state = nnx.to_flat_state(nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat)))
    ours = {names.prefix + ".".join(map(str, path)): (path, leaf) for path, leaf in state}
    missing = {place for place in ours if not names.ignores(place, new_logits)}
    unexpected: list[str] = []
    misfits: dict[str, str] = {}
    values = []
    for name, tensor in tensors.items():
        theirs, _, leaf = name.rpartition(".")
        module = names.modules.get(theirs, "")
        if module and (leaf == "num_batches_tracked" or names.ignores(module, new_logits)):
            continue
        places = (f"{module}.{ours_leaf}" for ours_leaf in _LEAVES.get(leaf, ()))
        place = next((place for place in places if place in missing), None)
        if place is None:
            unexpected.append(f"{name} {_text(tensor.shape)}")
            continue
        missing.remove(place)
        path, variable = ours[place]
        expected = _torch_shape(variable.shape)
        if tuple(tensor.shape) != expected:
            misfits[place] = f"{name} {_text(tensor.shape)}, not {_text(expected)}"
            continue
        value = _from_torch(tensor, names.flattened.get(module))
        values.append((path, variable.replace(jnp.asarray(value, variable.dtype))))
    untouched = dict.fromkeys(
        place.rpartition(".")[0] for place in ours if new_logits and _is_last(place)
    )
    for part in optional:
        inside = {place for place in ours if place.startswith(f"{part}.")}
        inside = {place for place in inside if not names.ignores(place, new_logits)}
        if inside and inside <= missing:
            missing -= inside
            untouched[part] = None
    absent = [f"{place} {_text(_torch_shape(ours[place][1].shape))}" for place in sorted(missing)]
    problems = {
        "of another shape": list(misfits.values()),
        "without a place": unexpected,
        "missing": absent,
    }
    if any(problems.values()):
        listed = "; ".join(f"{what}: {_list(found)}" for what, found in problems.items() if found)
        of_classes = all(map(_is_last, misfits))
        hint = (
            "" if unexpected or absent or not of_classes else "; new_logits=True leaves these out"
        )
        raise UserError(
            f"{source}: not the weights of this {type(model).__name__}; tensors {listed}{hint}"
        )
    nnx.update(model, nnx.from_flat_state(values))
    return list(untouched)


def _is_last(place: str) -> bool:
    """Whether a place is in the layer of the classes, or that of an auxiliary classifier."""
    return "logits" in place.split(".")


def _from_torch(tensor, flattened: tuple[int, int, int] | None):
    """A tensor with its axes in our order; `flattened` is the (h, w, c) of the features that a linear layer reads."""
    if tensor.ndim == 4:
        return tensor.transpose(2, 3, 1, 0)  # [o, i, h, w] -> [h, w, i, o]
    if tensor.ndim == 2 and flattened is not None:
        height, width, channels = flattened
        tensor = tensor.reshape(-1, channels, height, width)  # torch flattens [c, h, w]
        tensor = tensor.transpose(0, 2, 3, 1).reshape(len(tensor), -1)
    return tensor.T  # [o, i] -> [i, o]


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of torch's tensor for an array of ours."""
    if len(shape) == 4:
        height, width, inputs, outputs = shape
        return outputs, inputs, height, width
    return shape[::-1]


def _text(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


def _list(found: list[str]) -> str:
    more = len(found) - _LISTED
    return ", ".join(found[:_LISTED]) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True)
class _Names:
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
            or (new_logits and _is_last(place))
        )


def _names(model: nnx.Module) -> _Names:
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
        case _:
            config = getattr(model, "config", None)
            raise UserError(
                f"torchvision has no weights for {type(model).__name__} of {config}: it has alexnet, vgg (with batch "
                "norm or no norm), googlenet, resnet (not pre-activation) and densenet"
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
    return _Names(names, flattened, prefix, without)


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
