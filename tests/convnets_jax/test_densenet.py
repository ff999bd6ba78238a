"""DenseNets: parameters, shapes, types and errors. test_torchvision.py compares values and the named networks."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from convnets_jax.densenet import DenseLayer, DenseNet, DenseNetConfig, DenseNetFeatures, Stage
from engine_jax.errors import UserError
from engine_jax.state import abstract_model

TINY = DenseNetConfig((2, 1, 3), growth_rate=4, first_width=6, num_classes=5)


def _shapes(config=TINY, **options):
    model = abstract_model(partial(DenseNet, config, **options))
    model.eval()
    return model


def test_parameters_by_hand():
    def block(channels, count):
        layers = [channels + 4 * i for i in range(count)]
        return sum(2 * c + 16 * c + 2 * 16 + 9 * 16 * 4 for c in layers)

    def transition(channels):
        return 2 * channels + channels * (channels // 2)

    # 6 channels grow to 14, are halved to 7, grow to 11, are halved to 5, grow to 17.
    expected = 7 * 7 * 3 * 6 + 2 * 6 + block(6, 2) + transition(14) + block(7, 1)
    expected += transition(11) + block(5, 3) + 2 * 17 + (17 + 1) * 5
    found = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(_shapes(), nnx.Param)))
    assert found == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [(64, (4, 4, 17)), ((65, 79), (4, 5, 17)), (13, (1, 1, 17)), ((31, 29), (2, 2, 17))],
)
def test_output_shape_is_the_shape_of_the_features(size, expected):
    model = _shapes().features
    height, width = (size, size) if isinstance(size, int) else size
    images = jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32)
    assert model.output_shape(size) == expected
    assert nnx.eval_shape(lambda m, x: m(x), model, images).shape == (2, *expected)
    assert model.out_channels == 17


def test_a_stage_keeps_what_it_was_given_before_what_it_adds():
    @nnx.jit
    def outputs(x):
        stage = Stage(6, 2, 4, transition=False, dtype=jnp.float32, rngs=nnx.Rngs(0))
        stage.eval()
        assert isinstance(stage.layers[0], DenseLayer)
        y = stage(x)
        return y, stage.layers[0](x), stage.layers[1](y[..., :10])

    x = np.random.default_rng(0).normal(size=(1, 5, 5, 6)).astype(np.float32)
    y, first, second = map(np.asarray, outputs(x))
    assert y.shape == (1, 5, 5, 14)
    np.testing.assert_array_equal(y[..., :6], x)
    np.testing.assert_allclose(y[..., 6:10], first, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(y[..., 10:], second, rtol=1e-5, atol=1e-5)


def test_bfloat16_activations_keep_float32_parameters_and_logits():
    model = _shapes(dtype=jnp.bfloat16)
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    features, logits = nnx.eval_shape(lambda m, x: (m.features(x), m(x)), model, images)
    assert (features.dtype, logits.dtype, logits.shape) == (jnp.bfloat16, jnp.float32, (2, 5))
    kinds = nnx.Any(nnx.Param, nnx.BatchStat)
    assert {x.dtype for x in jax.tree.leaves(nnx.state(model, kinds))} == {jnp.dtype("float32")}


def test_an_image_that_is_too_small_is_one_clear_line():
    model = abstract_model(partial(DenseNetFeatures, TINY))
    with pytest.raises(UserError, match=r"^an image side of 12 px .* at least 13 px$"):
        model(jnp.zeros((1, 64, 12, 3)))


@pytest.mark.parametrize("shape", [(64, 64, 3), (1, 64, 64, 1)])
def test_other_arrays_are_a_users_error(shape):
    with pytest.raises(UserError, match=r"takes images \[b, h, w, 3\]"):
        _shapes()(jnp.zeros(shape))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"blocks": ()}, "blocks"),
        ({"blocks": (2, 0)}, "blocks"),
        ({"growth_rate": 0}, "growth_rate"),
        ({"first_width": 0}, "first_width"),
        ({"num_classes": 0}, "num_classes"),
    ],
)
def test_a_wrong_config_names_its_field(change, field):
    with pytest.raises(UserError, match=f"DenseNetConfig.{field} is"):
        DenseNetConfig(**({"blocks": (1,)} | change))
