"""GoogLeNet: widths, pools, dropout, auxiliary classifiers, types and errors. test_torchvision.py compares values."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from convnets_jax.googlenet import GoogLeNet, GoogLeNetConfig, _pool
from engine_jax.errors import UserError
from engine_jax.state import abstract_model


@pytest.fixture(scope="module")
def shapes():
    config = GoogLeNetConfig(num_classes=5)
    model = abstract_model(partial(GoogLeNet, config, dtype=jnp.bfloat16))
    model.eval()
    return model


def test_widths_of_the_nine_blocks(shapes):
    # Table 1 of the paper.
    found = [block.out_channels for stage in shapes.features.stages for block in stage.blocks]
    assert found == [256, 480, 512, 512, 512, 528, 832, 832, 1024]
    assert shapes.features.out_channels == 1024


@pytest.mark.parametrize(
    ("size", "expected"),
    [(224, (7, 7)), ((15, 40), (1, 1)), ((96, 75), (3, 2)), ((97, 65), (3, 2))],
)
def test_output_shape_is_the_shape_of_the_features(shapes, size, expected):
    height, width = (size, size) if isinstance(size, int) else size
    images = jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32)
    assert shapes.features.output_shape(size) == (*expected, 1024)
    found = nnx.eval_shape(lambda m, x: m(x), shapes.features, images)
    assert (found.shape, found.dtype) == ((2, *expected, 1024), jnp.bfloat16)


def test_logits_are_float32_and_come_with_two_auxiliaries(shapes):
    images = jax.ShapeDtypeStruct((2, 64, 80, 3), jnp.float32)
    found = nnx.eval_shape(lambda m, x: (m(x), *m.all_logits(x)), shapes, images)
    assert [(x.shape, x.dtype) for x in found] == [((2, 5), jnp.float32)] * 4
    kinds = nnx.Any(nnx.Param, nnx.BatchStat)
    assert {x.dtype for x in jax.tree.leaves(nnx.state(shapes, kinds))} == {jnp.dtype("float32")}


@pytest.mark.parametrize("window", [2, 3])
@pytest.mark.parametrize("size", [1, 2, 5, 6, 7, 8])
def test_pools_round_up(window, size):
    x = np.random.default_rng(0).uniform(size=(1, size, size + 1, 2)).astype(np.float32)
    if window == 3 and size == 1:
        x = x.repeat(2, axis=1)  # torch refuses a side of 1
    rows, columns = (range(0, max(side - window + 1, 0) + 1, 2) for side in x.shape[1:3])
    expected = [[x[:, i : i + window, j : j + window].max((1, 2)) for j in columns] for i in rows]
    np.testing.assert_array_equal(
        _pool(jnp.asarray(x), window), np.array(expected).transpose(2, 0, 1, 3)
    )


def test_dropout_in_training_draws_from_the_key_of_the_step(shapes):
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    assert (shapes.dropout.rate, [a.dropout.rate for a in shapes.auxiliary]) == (0.2, [0.7, 0.7])
    training = nnx.view(shapes, deterministic=False)
    found = nnx.eval_shape(lambda m, x: m.all_logits(x, nnx.Rngs(0)), training, images)
    assert len(found) == 3
    with pytest.raises(ValueError, match="rngs"):
        nnx.eval_shape(lambda m, x: m(x), training, images)


def test_without_auxiliary_classifiers():
    config = GoogLeNetConfig(auxiliary=False, num_classes=5)
    model = abstract_model(partial(GoogLeNet, config))
    assert not len(model.auxiliary)
    with pytest.raises(UserError, match=r"GoogLeNetConfig\.auxiliary is False"):
        model.all_logits(jnp.zeros((1, 32, 32, 3)))


def test_an_image_that_is_too_small_is_one_clear_line(shapes):
    with pytest.raises(UserError, match=r"^an image side of 14 px .* at least 15 px$"):
        shapes(jnp.zeros((1, 64, 14, 3)))


@pytest.mark.parametrize("shape", [(64, 64, 3), (1, 64, 64, 1)])
def test_other_arrays_are_a_users_error(shapes, shape):
    with pytest.raises(UserError, match=r"takes images \[b, h, w, 3\]"):
        shapes(jnp.zeros(shape))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"dropout": 1.0}, "dropout"),
        ({"auxiliary_dropout": -0.1}, "auxiliary_dropout"),
        ({"num_classes": 0}, "num_classes"),
    ],
)
def test_a_wrong_config_names_its_field(change, field):
    with pytest.raises(UserError, match=f"GoogLeNetConfig.{field} is"):
        GoogLeNetConfig(**change)
