from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from classify_jax import losses
from classify_jax.losses import class_weights
from classify_jax.networks import ModelConfig, all_logits, build, check_network
from convnets_jax.googlenet import GoogLeNet, GoogLeNetConfig
from convnets_jax.transfer import TransferConfig
from engine_jax.errors import UserError
from engine_jax.state import abstract_model

cross_entropy = jax.jit(losses.cross_entropy)
training_loss = jax.jit(losses.training_loss)


def test_median_frequency_weights():
    counts = np.array([10, 40, 20, 0])
    np.testing.assert_allclose(class_weights(counts, "median_frequency"), [2, 0.5, 1, 0])
    assert (class_weights(counts, "none") == 1).all()


def test_cross_entropy_is_the_weighted_logarithm_of_the_classes_share():
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]], np.float32))
    found = cross_entropy(logits, jnp.array([1, 2]), jnp.array([1.0, 3.0, 0.5]))
    np.testing.assert_allclose(found, [-3 * np.log(0.25), -0.5 * np.log(0.8)], rtol=1e-5)


def test_auxiliary_heads_count_three_tenths_each():
    final, first, second = (np.log(np.array([[p, 1 - p]], np.float32)) for p in (0.5, 0.25, 0.125))
    labels, ones = jnp.array([0]), jnp.ones(2)
    alone = training_loss((final,), labels, ones)
    found = training_loss((final, first, second), labels, ones)
    np.testing.assert_allclose(alone, np.log(2), rtol=1e-5)
    np.testing.assert_allclose(found, (1 + 0.3 * 2 + 0.3 * 3) * np.log(2), rtol=1e-5)


def test_googlenet_trains_its_auxiliary_heads():
    def logits(model):
        return all_logits(model, jnp.zeros((2, 64, 64, 3)), nnx.Rngs(dropout=0))

    model = abstract_model(partial(GoogLeNet, GoogLeNetConfig(num_classes=7)))
    assert [found.shape for found in nnx.eval_shape(logits, model)] == [(2, 7), (2, 7), (2, 7)]


def test_a_network_that_there_is_not():
    config = ModelConfig("alexnet_xl", 64, "", (), "float32")
    with pytest.raises(UserError, match=r"config.model.name: 'alexnet_xl'; accepted: resnet10_na"):
        build(config, 10, rngs=nnx.Rngs(0))


def test_images_that_are_too_small_for_the_strides():
    def config(size):
        return ModelConfig("alexnet_lrn", size, "", (), "float32")

    everything = TransferConfig(("",), 0, 0, ())
    check_network(config(67), everything)
    with pytest.raises(UserError, match=r"config.model.input_size: 16: .*at least 67 px"):
        check_network(config(16), everything)
