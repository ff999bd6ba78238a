"""Every name makes its network, with the form that all networks share.

Published parameters, and a place for every tensor of torchvision's networks.
"""

import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import convnets_jax
from convnets_jax import torchvision, zoo
from engine_jax.errors import UserError
from engine_jax.state import abstract_model
from tests.convnets_jax.make_torchvision_references import MODELS
from tests.convnets_jax.test_torchvision import abstract_tensors, torchvision_shapes

NAMES = [
    "lenet5",
    "alexnet",
    "alexnet_lrn",
    "alexnet_bn",
    "zfnet",
    "vgg11",
    "vgg11_lrn",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16_conv1",
    "vgg16_conv1_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "googlenet",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "preact_resnet18",
    "preact_resnet34",
    "preact_resnet50",
    "preact_resnet101",
    "preact_resnet152",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "densenet121",
    "densenet169",
    "densenet201",
    "mobilenet_v1",
    "mobilenet_v1_075",
    "mobilenet_v1_050",
    "mobilenet_v1_025",
    "mobilenet_v2",
    "mobilenet_v2_050",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
]
# Torchvision's counts, those of the course notes for AlexNet with and without batch normalisation, and for the others
# the layers added up by hand: LeNet-5 456 + 2,416 + 48,120 + 10,164 + 85,000; ZFNet 14,208 + 614,656 + 885,120
# + 1,327,488 + 884,992 + 37,752,832 + 16,781,312 + 4,097,000; VGG C is VGG B with 256 (256 + 1) + 2 x 512 (512 + 1).
PARAMETERS = {
    "lenet5": 146_156,
    "alexnet": 61_100_840,
    "alexnet_lrn": 62_378_344,
    "alexnet_bn": 62_416_616,
    "zfnet": 62_357_608,
    "vgg11": 132_863_336,
    "vgg11_lrn": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_053_736,
    "vgg16_conv1": 133_047_848 + 256 * 257 + 2 * 512 * 513,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
    "googlenet": 13_004_888,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "wide_resnet50_2": 68_883_240,
    "densenet121": 7_978_856,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_small": 2_542_856,
    "mobilenet_v3_large": 5_483_032,
}
FAMILIES = (
    "lenet5",
    "alexnet_lrn",
    "zfnet",
    "vgg11",
    "googlenet",
    "resnet18",
    "preact_resnet18",
    "densenet121",
    "mobilenet_v1",
    "mobilenet_v2_050",
    "mobilenet_v3_small",
)
CLASSES = 7  # the width of no other layer


@cache
def network_of(name):
    """The shapes of a network, for tests that leave it as it is."""
    return zoo.shapes(name, CLASSES)


def test_the_names():
    assert [*zoo.MODELS] == NAMES


def _forward(network, size):
    """The shape of what a network makes of two images, computing nothing."""
    graphdef, state = nnx.split(network)

    def forward(state, x):
        network = nnx.merge(graphdef, state)
        network.eval()
        return network(x)

    return jax.eval_shape(forward, state, jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32))


@pytest.mark.parametrize("name", NAMES)
def test_logits_of_every_network(name):
    network = network_of(name)
    size = zoo.MODELS[name].input_size
    assert getattr(network.config, "input_size", size) == size
    assert network.logits.out_features == CLASSES
    logits = _forward(network, size)
    assert (logits.shape, logits.dtype) == ((2, CLASSES), jnp.float32)


@pytest.mark.parametrize("name", PARAMETERS)
def test_published_parameters(name):
    """Those of 1000 classes, which a network has if not told otherwise."""
    kinds = nnx.Any(nnx.Param, nnx.BatchStat) if name == "alexnet_bn" else nnx.Param
    leaves = jax.tree.leaves(nnx.state(network_of(name), kinds))
    of_classes = [leaf.size // CLASSES for leaf in leaves if leaf.shape[-1] == CLASSES]
    assert zoo.MODELS[name].config.num_classes == 1000
    assert (
        sum(leaf.size for leaf in leaves) + (1000 - CLASSES) * sum(of_classes) == PARAMETERS[name]
    )


@pytest.mark.parametrize("name", MODELS)
def test_a_place_for_every_tensor_of_torchvisions(name):
    shapes = torchvision_shapes(name, CLASSES)
    # DenseNet's published files say norm.1 and conv.2, and older ones of all networks count no batches.
    published = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", tensor_name): shape
        for tensor_name, shape in shapes.items()
        if not tensor_name.endswith("num_batches_tracked")
    }
    for form in (shapes, published) if "densenet" in name else (shapes,):
        nnx.eval_shape(torchvision.assign, network_of(name), abstract_tensors(form))


@pytest.mark.parametrize("name", FAMILIES)
def test_images_of_another_size(name):
    network = network_of(name)
    side = zoo.MODELS[name].input_size + 33
    features = _forward(network.features, side)
    assert features.shape == (2, *network.features.output_shape(side))
    assert features.shape[-1] == network.features.out_channels
    assert _forward(network, side).shape == (2, CLASSES)


@pytest.mark.parametrize("name", ["lenet5", "alexnet_bn", "zfnet", "vgg11", "mobilenet_v1_025"])
def test_images_of_another_shape_are_one_clear_line(name):
    features = abstract_model(partial(zoo.create_features, name))
    with pytest.raises(UserError, match=r"takes images \[b, h, w, 3\], it got an array of shape"):
        features(jnp.zeros((64, 64, 3)))
    with pytest.raises(UserError, match=r"an image side of 0 px is too small .* at least \d+ px$"):
        features.output_shape((300, 0))


def test_create_and_create_features():
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)

    @nnx.jit
    def created(images):
        network = convnets_jax.create("lenet5", 4, rngs=nnx.Rngs(3))
        return network, network(images)

    network, logits = created(images)
    assert logits.shape == (2, 4)
    assert np.abs(logits[0] - logits[1]).max() > 1e-3
    shapes = nnx.state(zoo.shapes("lenet5", 4))
    assert jax.tree.map(jnp.shape, nnx.state(network)) == jax.tree.map(jnp.shape, shapes)

    half = abstract_model(partial(zoo.create_features, "lenet5", dtype=jnp.bfloat16))
    features = _forward(half, 32)
    assert (features.shape, features.dtype) == ((2, 1, 1, 120), jnp.bfloat16)


@pytest.mark.parametrize("build", [zoo.create, zoo.create_features])
def test_an_unknown_name_lists_those_accepted(build):
    with pytest.raises(
        UserError, match=r"^there is no network 'vgg12'; accepted: lenet5, .*_v3_large$"
    ):
        build("vgg12", rngs=nnx.Rngs(0))


def test_the_package_knows_nothing_else():
    with pytest.raises(AttributeError, match="has no attribute 'vgg_16'"):
        convnets_jax.vgg_16  # noqa: B018
