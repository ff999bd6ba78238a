"""MobileNetV3: its classifier, widths, errors. Its blocks are in test_inverted_residual.py."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from convnets_jax.mobilenet_v3 import CONFIGS, Block, MobileNetV3, MobileNetV3Config
from engine_jax.errors import UserError
from engine_jax.state import abstract_model

TINY = MobileNetV3Config((Block(3, 16, 8, True, "relu", 2),), 16, num_classes=3)


def test_a_width_narrows_every_layer():
    config = replace(CONFIGS["mobilenet_v3_small"], width=0.5)
    model = abstract_model(partial(MobileNetV3, config))
    found = [block.project.conv.out_features for block in model.features.blocks]
    # 8, 12, 12, 20, 20, 20, 24, 24, 48, 48, 48, of which 12 and 20 aren't multiples of 8.
    assert found == [8, 16, 16, 24, 24, 24, 24, 24, 48, 48, 48]
    assert model.features.stem.conv.out_features == 8
    assert model.hidden.kernel.shape == (6 * 48, 512)
    assert model.logits.kernel.shape == (512, 1000)


def test_the_classifier_has_a_hidden_layer_with_a_hard_swish():
    model = nnx.jit(lambda: MobileNetV3(TINY, rngs=nnx.Rngs(0)))()
    model.eval()
    features = np.random.default_rng(0).normal(size=(2, 3, 4, 48)).astype(np.float32) * 9
    hidden = features.mean((1, 2)) @ np.asarray(model.hidden.kernel)
    swished = hidden * np.clip(hidden + 3, 0, 6) / 6
    expected = swished @ np.asarray(model.logits.kernel)
    found = nnx.jit(MobileNetV3.classify)(model, features)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_norms_keep_99_of_100_parts_of_their_statistics():
    """As torch's momentum of 0.01 does."""
    model = abstract_model(partial(MobileNetV3, TINY))
    model.train()
    norms = [x for _, x in nnx.iter_modules(model) if isinstance(x, nnx.BatchNorm)]
    assert {(x.momentum, x.epsilon) for x in norms} == {(0.99, 1e-3)}

    @nnx.jit
    def step():
        norm = MobileNetV3(TINY, rngs=nnx.Rngs(0)).features.stem.norm
        norm.train()
        norm(jnp.ones((2, 1, 1, 16)))
        return norm

    norm = step()
    np.testing.assert_allclose(norm.mean[...], 0.01, rtol=1e-5)
    np.testing.assert_allclose(norm.var[...], 0.99, rtol=1e-5)


def test_activations_have_the_asked_type_and_logits_are_float32():
    def run(images):
        model = MobileNetV3(TINY, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
        model.eval()
        return model.features(images), model(images)

    features, logits = jax.eval_shape(run, jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))
    assert (features.dtype, logits.dtype) == (jnp.bfloat16, jnp.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0.0}, "width is 0.0: use a positive factor"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"hidden": 0}, "hidden"),
        ({"num_classes": 0}, "num_classes"),
    ],
)
def test_a_wrong_config_names_its_field(change, message):
    with pytest.raises(UserError, match=message):
        replace(TINY, **change)
