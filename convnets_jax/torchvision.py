"""Weights that torchvision publishes, in the modules of this package.

    model = convnets_jax.create("resnet50", rngs=nnx.Rngs(0))
    torchvision.load(model, "resnet50.pth")

Images are RGB in [0, 1], normalised by `convnets_jax.imagenet.normalise`; GoogLeNet takes the same images, see
`GoogLeNetConfig.transform_input`.
"""

from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from convnets_jax import state_dict
from convnets_jax.torchvision_names import is_last, names_for
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
        model: AlexNet, VGG, GoogLeNet, ResNet, DenseNet, MobileNetV2 or V3; or the features of one, for which the
            classifier's tensors in the file are ignored.
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
    names = names_for(model)
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
        place.rpartition(".")[0] for place in ours if new_logits and is_last(place)
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
        of_classes = all(map(is_last, misfits))
        hint = (
            "" if unexpected or absent or not of_classes else "; new_logits=True leaves these out"
        )
        raise UserError(
            f"{source}: not the weights of this {type(model).__name__}; tensors {listed}{hint}"
        )
    nnx.update(model, nnx.from_flat_state(values))
    return list(untouched)


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
