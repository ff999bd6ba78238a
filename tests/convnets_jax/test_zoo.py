"""Every name makes its network, with the form that all networks share."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import convnets_jax
from convnets_jax import zoo
from engine_jax.errors import UserError

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
    network = zoo.shapes(name, num_classes=7)
    size = zoo.MODELS[name].input_size
    assert getattr(network.config, "input_size", size) == size
    assert network.logits.out_features == 7
    logits = _forward(network, size)
    assert (logits.shape, logits.dtype) == ((2, 7), jnp.float32)


@pytest.mark.parametrize("name", FAMILIES)
def test_images_of_another_size(name):
    network = zoo.shapes(name, num_classes=7)
    side = zoo.MODELS[name].input_size + 33
    features = _forward(network.features, side)
    assert features.shape == (2, *network.features.output_shape(side))
    assert features.shape[-1] == network.features.out_channels
    assert _forward(network, side).shape == (2, 7)


@pytest.mark.parametrize("name", ["lenet5", "alexnet_bn", "zfnet", "vgg11", "mobilenet_v1_025"])
def test_images_of_another_shape_are_one_clear_line(name):
    features = nnx.eval_shape(lambda: zoo.create_features(name, rngs=nnx.Rngs(0)))
    with pytest.raises(UserError, match=r"takes images \[b, h, w, 3\], it got an array of shape"):
        features(jnp.zeros((64, 64, 3)))
    with pytest.raises(UserError, match=r"an image side of 0 px is too small .* at least \d+ px$"):
        features.output_shape((300, 0))


def test_create_and_create_features():
    network = nnx.jit(lambda: convnets_jax.create("lenet5", 4, rngs=nnx.Rngs(3)))()
    images = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    logits = network(images)
    assert logits.shape == (2, 4)
    assert float(jnp.abs(logits[0] - logits[1]).max()) > 1e-3
    shapes = nnx.state(zoo.shapes("lenet5", 4))
    assert jax.tree.map(jnp.shape, nnx.state(network)) == jax.tree.map(jnp.shape, shapes)

    half = nnx.eval_shape(
        lambda: zoo.create_features("lenet5", dtype=jnp.bfloat16, rngs=nnx.Rngs(3))
    )
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
