"""ZFNet: sizes of the paper's figure, order of layers, dropout, errors."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from convnets_jax.zfnet import ZFNet, ZFNetConfig, ZFNetFeatures
from engine_jax.errors import UserError
from engine_jax.state import abstract_model

TINY = ZFNetConfig(
    input_size=64, widths=(4, 8, 8, 8, 6), hidden=(16, 12), dropout=0.0, num_classes=5
)


def test_sizes_of_the_papers_figure():
    model = abstract_model(partial(ZFNetFeatures, ZFNetConfig()))
    traced = jax.make_jaxpr(lambda x: ZFNetFeatures(TINY, rngs=nnx.Rngs(0))(x))(
        jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    )
    kinds = ("conv_general_dilated", "custom_vjp_call")  # convolutions and pools
    sides = [e.outvars[0].aval.shape[1] for e in traced.eqns if e.primitive.name in kinds]
    assert sides == [110, 55, 26, 13, 13, 13, 13, 6]
    assert model.output_shape(224) == (6, 6, 256)


def test_features_are_conv_relu_pool_lrn():
    def by_hand(model, x):
        strides, paddings = (2, 2, 1, 1, 1), (1, 0, 1, 1, 1)
        for i, conv in enumerate(model.convs):
            x = jax.lax.conv_general_dilated(
                x,
                conv.kernel[...],
                (strides[i], strides[i]),
                [(paddings[i], paddings[i])] * 2,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
            x = jnp.maximum(x, 0)
            if i in (0, 1, 4):
                margin = (1, 1) if i < 4 else (0, 0)
                x = nnx.max_pool(x, (3, 3), (2, 2), [margin, margin])
            if i < 2:
                neighbours = jnp.pad(x**2, ((0, 0),) * 3 + ((2, 2),))
                total = sum(neighbours[..., j : j + x.shape[-1]] for j in range(5))
                x = x / (2 + 1e-4 * total) ** 0.75
        return x

    @nnx.jit
    def both(images):
        model = ZFNetFeatures(TINY, rngs=nnx.Rngs(0))
        return model(images), by_hand(model, images)

    images = np.random.default_rng(0).normal(size=(2, 67, 70, 3)).astype(np.float32) * 30
    found, expected = map(np.asarray, both(images))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * expected.max())


def test_dropout_draws_from_the_key_of_the_call():
    config = ZFNetConfig(64, (4, 4, 4, 4, 4), (32,), 0.5, 5)
    model = nnx.jit(lambda: ZFNet(config, rngs=nnx.Rngs(0)))()
    images = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)
    forward = nnx.jit(lambda model, seed: model(images, nnx.Rngs(jax.random.key(seed))))
    model.train()
    assert not np.array_equal(forward(model, 0), forward(model, 1))
    assert np.array_equal(forward(model, 0), forward(model, 0))
    model.eval()
    assert np.array_equal(forward(model, 0), forward(model, 1))


def test_an_image_that_is_too_small_is_one_clear_line():
    model = abstract_model(partial(ZFNetFeatures, TINY))
    # One cell comes of 3 before the last pool, 5 before the second and 13 before its convolution, 25 before the first.
    assert model.output_shape(53) == (1, 1, 6)
    with pytest.raises(UserError, match=r"side of 52 px is too small for this ZFNet: .* 53 px$"):
        model.output_shape((52, 100))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": (96, 256)}, "widths is"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"hidden": (0,)}, r"hidden is \(0,\): use 1 or more"),
    ],
)
def test_a_wrong_config_names_its_field(change, message):
    with pytest.raises(UserError, match=message):
        ZFNetConfig(**change)
