"""MobileNet: widths, shapes, a block written out, batch norm, errors. Its table is in test_summary.py."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from convnets_jax.mobilenet import (
    CONFIGS,
    MobileNet,
    MobileNetConfig,
    MobileNetFeatures,
    Separable,
)
from engine_jax.errors import UserError
from engine_jax.state import abstract_model

WIDTHS = [64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024]


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("mobilenet_v1", 1.0),
        ("mobilenet_v1_075", 0.75),
        ("mobilenet_v1_050", 0.5),
        ("mobilenet_v1_025", 0.25),
    ],
)
def test_every_layer_is_narrowed(name, width):
    model = abstract_model(partial(MobileNet, CONFIGS[name]))
    convs = [block.pointwise.conv for block in model.features.blocks]
    assert model.features.stem.conv.out_features == 32 * width
    assert [conv.out_features for conv in convs] == [width * full for full in WIDTHS]
    assert model.logits.kernel.shape == (1024 * width, 1000)


def test_no_layer_is_narrower_than_8():
    assert [MobileNetConfig(0.1).channels(full) for full in (32, 64, 128)] == [8, 8, 12]


@pytest.mark.parametrize(
    ("size", "side"), [(224, 7), (192, 6), (160, 5), (128, 4), (33, 2), (1, 1)]
)
def test_output_shape(size, side):
    model = abstract_model(partial(MobileNetFeatures, MobileNetConfig(0.25)))
    assert model.output_shape((size, 64)) == (side, 2, 256)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_filters_each_channel_and_mixes_them(stride):
    block = nnx.jit(lambda: Separable(3, 5, stride, dtype=jnp.float32, rngs=nnx.Rngs(0)))()
    block.eval()
    images = np.random.default_rng(0).normal(size=(2, 7, 7, 3)).astype(np.float32)
    kernel = np.asarray(block.depthwise.conv.kernel[...])  # [3, 3, 1, 3]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    side = -(-7 // stride)
    filtered = np.zeros((2, side, side, 3))
    for i in range(side):
        for j in range(side):
            window = padded[:, i * stride : i * stride + 3, j * stride : j * stride + 3]
            filtered[:, i, j] = (window * kernel[:, :, 0]).sum((1, 2))
    deviation = np.sqrt(1 + 1e-5)  # the running mean is 0 and the variance 1
    mixed = np.maximum(filtered / deviation, 0) @ np.asarray(block.pointwise.conv.kernel)[0, 0]
    found = nnx.jit(lambda block, images: block(images))(block, images)
    np.testing.assert_allclose(found, np.maximum(mixed / deviation, 0), atol=1e-5)


def test_logits_are_of_the_mean_feature(monkeypatch):
    model = abstract_model(partial(MobileNet, MobileNetConfig(0.1)))
    model.logits = nnx.Linear(102, 5, rngs=nnx.Rngs(0))
    monkeypatch.setattr(MobileNetFeatures, "__call__", lambda self, x: x)
    features = np.random.default_rng(0).normal(size=(2, 3, 4, 102)).astype(np.float32)
    expected = features.mean((1, 2)) @ model.logits.kernel[...] + model.logits.bias[...]
    np.testing.assert_allclose(model(features), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"width": 0.0}, "width is 0.0: use a positive factor"), ({"num_classes": 0}, "num_classes")],
)
def test_a_wrong_config_names_its_field(change, message):
    with pytest.raises(UserError, match=message):
        MobileNetConfig(**change)
