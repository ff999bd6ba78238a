"""ResNets: shapes, maps, the pre-activation form by hand, types and errors. test_torchvision.py compares values."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from convnets_jax.resnet import CONFIGS, ResNet, ResNetConfig, ResNetFeatures
from engine_jax.errors import UserError
from engine_jax.state import abstract_model


def _tiny(**changes):
    return ResNetConfig(
        **({"blocks": (1, 1, 1, 2), "widths": (4, 6, 8, 10), "num_classes": 5} | changes)
    )


def _images(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def _count(module):
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


@pytest.mark.parametrize("bottleneck", [False, True])
def test_parameters_of_the_pre_activation_form(bottleneck):
    def block(inputs, width, outputs, first, projected):
        kernels = inputs * width + 9 * width**2 + width * outputs
        norms = 2 * width + 2 * width
        if not bottleneck:
            kernels, norms = 9 * inputs * width + 9 * width**2, 2 * width
        return kernels + norms + (0 if first else 2 * inputs) + projected * inputs * outputs

    times = 4 if bottleneck else 1
    expected = 7 * 7 * 3 * 4 + 2 * 4  # the first convolution and its norm
    expected += block(4, 4, 4 * times, first=True, projected=bottleneck)
    for before, width in ((4, 6), (6, 8), (8, 10)):
        expected += block(before * times, width, width * times, first=False, projected=True)
    expected += block(10 * times, 10, 10 * times, first=False, projected=False)
    expected += 2 * 10 * times + (10 * times + 1) * 5
    config = _tiny(bottleneck=bottleneck, pre_activation=True)
    assert _count(abstract_model(partial(ResNet, config))) == expected


def test_named_networks():
    for depth, layers in ((18, 8), (34, 16), (50, 16), (101, 33), (152, 50)):
        config = CONFIGS[f"resnet{depth}"]
        weighted = sum(config.blocks) * (3 if config.bottleneck else 2) + 2
        assert (weighted, sum(config.blocks)) == (depth, layers)
        before = CONFIGS[f"preact_resnet{depth}"]
        assert before == replace(config, pre_activation=True)


def test_resnext_and_wide_resnets_widen_the_inside_of_their_blocks_alone():
    """Xie et al. 2017, table 1, and torchvision's wide ResNet: 128 channels inside of the first stage, 256 outside."""
    for name, inputs in (("resnext50_32x4d", 4), ("wide_resnet50_2", 128)):
        model = abstract_model(partial(ResNetFeatures, CONFIGS[name]))
        block = model.stages[0].blocks[0]
        assert block.conv1.kernel.shape == (1, 1, 64, 128)
        assert block.conv2.kernel.shape == (3, 3, inputs, 128)
        assert block.conv3.kernel.shape == (1, 1, 128, 256)
        assert model.map_channels == (256, 512, 1024, 2048)


@pytest.mark.parametrize("pre_activation", [False, True])
@pytest.mark.parametrize(("bottleneck", "times"), [(False, 1), (True, 4)])
def test_maps_have_strides_4_to_32(pre_activation, bottleneck, times):
    config = _tiny(bottleneck=bottleneck, pre_activation=pre_activation)
    model = abstract_model(partial(ResNetFeatures, config))
    images = jax.ShapeDtypeStruct((2, 96, 65, 3), jnp.float32)
    maps = nnx.eval_shape(lambda model, x: model.maps(x), model, images)
    channels = tuple(width * times for width in config.widths)
    sides = ((24, 17), (12, 9), (6, 5), (3, 3))
    expected = [(2, *side, c) for side, c in zip(sides, channels, strict=True)]
    assert [x.shape for x in maps] == expected
    assert model.map_channels == channels
    assert model.output_shape((96, 65)) == (3, 3, model.out_channels)
    assert model.output_shape(1) == (1, 1, channels[-1])


def _conv(x, conv, stride, padding):
    pads = ((padding, padding),) * 2
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, conv.kernel[...], (stride, stride), pads, dimension_numbers=layout
    )


def _relu_norm(x, norm):
    scale = norm.scale[...] / jnp.sqrt(norm.var[...] + 1e-5)
    return jnp.maximum((x - norm.mean[...]) * scale + norm.bias[...], 0)


@pytest.mark.parametrize("bottleneck", [False, True])
def test_pre_activation_blocks_by_hand(bottleneck):
    config = _tiny(bottleneck=bottleneck, pre_activation=True)
    model = abstract_model(partial(ResNetFeatures, config))
    model.eval()
    rng = np.random.default_rng(1)

    def draw(x):
        spread = (2 / np.prod(x.shape[:-1])) ** 0.5 if len(x.shape) == 4 else 0.2
        return jnp.asarray((len(x.shape) == 1) + spread * rng.standard_normal(x.shape), x.dtype)

    nnx.update(model, jax.tree.map(draw, nnx.state(model)))
    images = _images(2, 37, 41, 3)

    def by_hand(model, x):
        x = _relu_norm(_conv(x, model.conv, 2, 3), model.norm)
        x = jax.lax.reduce_window(
            x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0))
        )
        for i, stage in enumerate(model.stages):
            for j, block in enumerate(stage.blocks):
                stride = 2 if i > 0 and j == 0 else 1
                y = x if i == j == 0 else _relu_norm(x, block.norm1)
                if block.shortcut is not None:
                    x = _conv(y, block.shortcut, stride, 0)
                if bottleneck:
                    y = _conv(
                        _relu_norm(_conv(y, block.conv1, 1, 0), block.norm2), block.conv2, stride, 1
                    )
                    y = _conv(_relu_norm(y, block.norm3), block.conv3, 1, 0)
                else:
                    y = _conv(
                        _relu_norm(_conv(y, block.conv1, stride, 1), block.norm2), block.conv2, 1, 1
                    )
                x = x + y
        return _relu_norm(x, model.last_norm)

    forward = nnx.jit(lambda m, x: (m(x), m.maps(x)[-1], by_hand(m, x)))
    found, last_map, expected = forward(model, images)
    np.testing.assert_array_equal(found, last_map)
    assert float(expected.std()) > 0.01
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * float(expected.max()))


@pytest.mark.parametrize("pre_activation", [False, True])
def test_bfloat16_activations_keep_float32_parameters_and_logits(pre_activation):
    config = _tiny(pre_activation=pre_activation)
    model = abstract_model(partial(ResNet, config, dtype=jnp.bfloat16))
    model.eval()
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    maps, logits = nnx.eval_shape(lambda m, x: (m.features.maps(x), m(x)), model, images)
    assert {x.dtype for x in maps} == {jnp.dtype("bfloat16")}
    assert (logits.dtype, logits.shape) == (jnp.float32, (2, 5))
    kinds = nnx.Any(nnx.Param, nnx.BatchStat)
    assert {x.dtype for x in jax.tree.leaves(nnx.state(model, kinds))} == {jnp.dtype("float32")}


@pytest.mark.parametrize("shape", [(64, 64, 3), (1, 64, 64, 4), (1, 0, 64, 3)])
def test_other_arrays_are_a_users_error(shape):
    model = abstract_model(partial(ResNetFeatures, _tiny()))
    with pytest.raises(UserError, match=r"\[b, h, w, 3\]|at least 1 px"):
        model(jnp.zeros(shape))


@pytest.mark.parametrize(
    "change",
    [
        {"blocks": (1, 1, 1)},
        {"widths": (4, 6, 0, 8)},
        {"num_classes": 0},
        {"widening": 2},
        {"groups": 2},
        {"groups": 0, "bottleneck": True},
        {"groups": 3, "bottleneck": True},
    ],
)
def test_a_wrong_config_names_its_field(change):
    with pytest.raises(UserError, match=f"ResNetConfig.{next(iter(change))} is"):
        _tiny(**change)
