"""LeNet-5: parameters, both forms against the layers written out, channels, errors."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from convnets_jax.lenet import LeNet, LeNetConfig, LeNetFeatures
from engine_jax.errors import UserError
from engine_jax.state import abstract_model


def _normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def _count(model):
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


def test_parameters_for_grey_digits():
    config = LeNetConfig(num_classes=10, in_channels=1)
    model = abstract_model(partial(LeNet, config))
    assert _count(model) == 156 + 2_416 + 48_120 + 10_164 + 850 == 61_706


@pytest.mark.parametrize("form", ["tanh", "relu"])
def test_logits_are_the_layers_one_after_the_other(form):
    config = LeNetConfig(num_classes=5, in_channels=1, form=form)

    def activation(x):
        return jnp.maximum(x, 0) if form == "relu" else 1.7159 * jnp.tanh(2 * x / 3)

    def quarters(x):
        return [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]

    def by_hand(model, x):
        for i, conv in enumerate(model.features.convs):
            windows = jax.lax.conv_general_dilated(
                x, conv.kernel[...], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            x = activation(windows + conv.bias[...])
            if i < 2:
                parts = jnp.stack(quarters(x))
                x = jnp.max(parts, axis=0) if form == "relu" else jnp.mean(parts, axis=0)
        x = activation(x.reshape(2, 120) @ model.hidden.kernel[...] + model.hidden.bias[...])
        return x @ model.logits.kernel[...] + model.logits.bias[...]

    @nnx.jit
    def both(images):
        model = LeNet(config, rngs=nnx.Rngs(0))
        return model(images), by_hand(model, images)

    found, expected = both(_normal(2, 32, 32, 1) * 2)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_larger_images_are_averaged_to_the_hidden_layers_cell():
    @nnx.jit
    def both(images):
        model = LeNet(LeNetConfig(num_classes=5), rngs=nnx.Rngs(0))
        cell = model.features(images).mean((1, 2))
        hidden = 1.7159 * jnp.tanh(2 / 3 * model.hidden(cell))
        return model(images), model.logits(hidden)

    found, expected = both(_normal(2, 40, 44, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_wrong_image_is_one_clear_line():
    config = LeNetConfig(in_channels=1)
    model = abstract_model(partial(LeNetFeatures, config))
    with pytest.raises(UserError, match=r"takes images \[b, h, w, 1\]"):
        model(jnp.zeros((1, 32, 32, 3)))
    # One cell comes of 5, 10 before the second pool, 14, 28 before the first.
    assert model.output_shape(32) == (1, 1, 120)
    with pytest.raises(UserError, match=r"side of 31 px is too small .* at least 32 px$"):
        model.output_shape((40, 31))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"form": "sigmoid"}, "form is 'sigmoid': use 'tanh', 'relu'"),
        ({"in_channels": 2}, "in_channels is 2: use 1 or 3"),
        ({"widths": (6, 16)}, "widths is"),
        ({"hidden": 0}, "hidden is 0: use 1 or more"),
    ],
)
def test_a_wrong_config_names_its_field(change, message):
    with pytest.raises(UserError, match=message):
        LeNetConfig(**change)
