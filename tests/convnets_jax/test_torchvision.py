"""torchvision's weights: logits equal torchvision's, and what doesn't fit is refused.

That every tensor has a place is in test_zoo.py.
"""

import gzip
import json
import os
from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from convnets_jax import torchvision, zoo
from convnets_jax.densenet import DenseNet, DenseNetConfig, DenseNetFeatures
from convnets_jax.googlenet import GoogLeNet, GoogLeNetConfig
from convnets_jax.resnet import ResNet, ResNetConfig
from convnets_jax.vgg import VGG, VGGConfig
from engine_jax.errors import UserError
from engine_jax.state import abstract_model
from tests.convnets_jax.make_torchvision_references import (
    DOUBLE,
    LOGITS,
    MODELS,
    NAMES,
    NUM_CLASSES,
    SIZES,
    SMALL,
    images,
    tensor,
)

# PARITY=all compares all of torchvision's networks, which takes minutes and gigabytes.
FEW = ("alexnet", "googlenet", "resnet18", "mobilenet_v2", "mobilenet_v3_small")
COMPARED = MODELS if os.environ.get("PARITY") == "all" else FEW
SMALL_MODULES = {
    "small_vgg_bn": (
        VGG,
        VGGConfig(
            kernels=((3,), (3,), (3, 3), (3,), (3,)),
            widths=(8, 12, 16, 24, 32),
            norm="batch",
            hidden=(48, 40),
            num_classes=NUM_CLASSES,
        ),
    ),
    "small_bottleneck_resnet": (
        ResNet,
        ResNetConfig((1, 2, 1, 1), bottleneck=True, num_classes=NUM_CLASSES),
    ),
    "small_resnext": (
        ResNet,
        ResNetConfig((1, 2, 1, 1), bottleneck=True, widening=2, groups=32, num_classes=NUM_CLASSES),
    ),
    "small_densenet": (DenseNet, DenseNetConfig((2, 3, 2, 2), num_classes=NUM_CLASSES)),
}


@cache
def _names():
    return json.loads(gzip.decompress(NAMES.read_bytes()))


def torchvision_shapes(name, num_classes=NUM_CLASSES):
    """The shape of every tensor of torchvision's network, by its name."""
    of_classes = {1000: num_classes}
    return {
        tensor_name: (*(of_classes.get(n, n) for n in shape[:1]), *shape[1:])
        for tensor_name, shape in _names()[name].items()
    }


def _logits(name, height, width):
    return [np.array(x) for x in json.loads(LOGITS.read_text())[name][f"{height}x{width}"]]


@cache
def _built(name, dtype):
    if name in SMALL:
        module, config = SMALL_MODULES[name]
        return abstract_model(partial(module, config, dtype=dtype))
    return abstract_model(partial(zoo.create, name, NUM_CLASSES, dtype=dtype))


def _shapes(name, dtype=jnp.float32):
    model = nnx.clone(_built(name, dtype))
    model.eval()
    return model


def torchvision_tensors(model_name, num_classes=NUM_CLASSES, hidden=4096):
    """Seeded tensors with torchvision's names and shapes, but for the widths of the fully connected layers."""
    shapes = torchvision_shapes(model_name, num_classes)
    return {
        name: tensor(name, tuple(hidden if side == 4096 else side for side in shape))
        for name, shape in shapes.items()
    }


def abstract_tensors(shapes):
    """Tensors of these shapes, for tests that look at no values."""
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}


def torch_layout(array, flattened=None):
    """One of our arrays with the axes of torchvision's tensor; `flattened` is (h, w, c) of the features it reads."""
    array = np.asarray(array)
    if flattened is not None:
        array = array.reshape(*flattened, -1).transpose(2, 0, 1, 3).reshape(array.shape)
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


def _loaded(name, dtype=jnp.float32):
    model = _shapes(name, dtype=dtype)
    torchvision.assign(model, torchvision_tensors(name))
    return model


@pytest.mark.parametrize("name", [*COMPARED, *SMALL])
def test_logits_equal_torchvisions(name):
    double = name in DOUBLE
    model = _loaded(name, jnp.float64 if double else jnp.float32)
    for size in SIZES if COMPARED == MODELS else SIZES[1:]:
        expected = _logits(name, *size)
        forward = type(model).all_logits if len(expected) > 1 else type(model).__call__
        with jax.enable_x64(double):
            found = nnx.jit(forward)(model, jnp.asarray(images(*size)))
        for ours, theirs in zip(found if len(expected) > 1 else [found], expected, strict=True):
            error = np.abs(ours - theirs).max() / np.abs(theirs).max()
            assert error < 1e-4


def _arrays(module):
    return nnx.state(module, nnx.Any(nnx.Param, nnx.BatchStat))


def test_features_alone_pass_over_the_classifier():
    whole = _loaded("small_densenet")
    features = abstract_model(partial(DenseNetFeatures, whole.config))
    torchvision.assign(features, torchvision_tensors("small_densenet"))
    jax.tree.map(np.testing.assert_array_equal, _arrays(features), _arrays(whole.features))


def test_new_logits_leave_the_last_layer_for_other_classes():
    config = replace(SMALL_MODULES["small_densenet"][1], num_classes=3)
    model = abstract_model(partial(DenseNet, config))
    model.logits = nnx.Linear(136, 3, rngs=nnx.Rngs(0))
    before = _arrays(model.logits)
    tensors = torchvision_tensors("small_densenet")
    message = r"classifier\.weight \[10, 136\], not \[3, 136\], classifier\.bias .*new_logits=True"
    with pytest.raises(UserError, match=message):
        torchvision.assign(model, tensors)
    torchvision.assign(model, tensors, new_logits=True)
    jax.tree.map(np.testing.assert_array_equal, _arrays(model.logits), before)
    found = model.features.last_norm.mean[...]
    np.testing.assert_array_equal(found, tensors["features.norm5.running_mean"])


def test_a_googlenet_without_auxiliary_classifiers_passes_them_over():
    model = abstract_model(partial(GoogLeNet, GoogLeNetConfig(auxiliary=False)))
    nnx.eval_shape(
        torchvision.assign, model, abstract_tensors(torchvision_shapes("googlenet", 1000))
    )


def test_weights_of_another_architecture_list_names_and_shapes():
    model = _loaded("small_densenet")
    before = _arrays(model)
    with pytest.raises(UserError) as caught:
        torchvision.assign(
            model, torchvision_tensors("small_bottleneck_resnet"), source="resnet.pth"
        )
    message = str(caught.value)
    assert message.startswith(
        "resnet.pth: not the weights of this DenseNet; tensors without a place"
    )
    assert "conv1.weight [64, 3, 7, 7]" in message
    assert "missing: features.conv.kernel [64, 3, 7, 7]" in message
    assert "new_logits" not in message
    assert "\n" not in message
    jax.tree.map(np.testing.assert_array_equal, _arrays(model), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("features.norm5.bias"), r"missing: features\.last_norm\.bias \[136\]$"),
        (
            lambda t: t.update({"extra.weight": np.zeros(2)}),
            r"without a place: extra\.weight \[2\]$",
        ),
        (
            lambda t: t.update({"features.denseblock1.denselayer1.norm.1.bias": np.zeros(64)}),
            r"without a place: features\.denseblock1\.denselayer1\.norm\.1\.bias \[64\]$",
        ),
        (
            lambda t: t.update({"features.norm0.weight": np.zeros(3)}),
            r"norm0\.weight \[3\], not \[64\]$",
        ),
    ],
    ids=["missing", "unknown", "twice", "shape"],
)
def test_every_tensor_is_used_once(change, message):
    model = _shapes("small_densenet")
    tensors = torchvision_tensors("small_densenet")
    change(tensors)
    with pytest.raises(UserError, match=message):
        torchvision.assign(model, tensors)


@pytest.mark.parametrize("name", ["preact_resnet18", "vgg11_lrn", "alexnet_lrn", "zfnet"])
def test_networks_that_torchvision_lacks(name):
    model = zoo.shapes(name)
    with pytest.raises(UserError, match="torchvision has no weights for"):
        torchvision.assign(model, {})


def test_load_reads_a_file(tmp_path):
    tensors = torchvision_tensors("small_densenet")
    safetensors.numpy.save_file(tensors, tmp_path / "w.safetensors")
    model, expected = _shapes("small_densenet"), _loaded("small_densenet")
    torchvision.load(model, tmp_path / "w.safetensors")
    jax.tree.map(np.testing.assert_array_equal, _arrays(model), _arrays(expected))
    (tmp_path / "w.safetensors").write_bytes(b"?")
    with pytest.raises(UserError, match=r"w\.safetensors: neither"):
        torchvision.load(model, tmp_path / "w.safetensors")
