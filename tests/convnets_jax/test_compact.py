"""The compact network: parameters by hand, shapes, alignment, receptive field, batch norm, types and errors."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from convnets_jax.compact import CompactConfig, CompactFeatures, patches, upsample
from engine_jax.errors import UserError
from engine_jax.state import abstract_model

TINY = CompactConfig(widths=(4, 6, 8), blocks=(1, 1, 1), out_channels=5)


def _images(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@nnx.jit
def _run(module, x):
    return module(x)


def _count(module, kind=nnx.Param):
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, kind)))


@cache
def _build(config, dtype):
    return nnx.jit(lambda: CompactFeatures(config, dtype=dtype, rngs=nnx.Rngs(0)))


def _evaluated(config, dtype=jnp.float32):
    model = _build(config, dtype)()
    model.eval()
    return model


def _blocks(model):
    return [block for part in (*model.stages, model) for block in part.blocks]


def test_parameters_of_the_default():
    def block(c):
        return 2 * 9 * c * c + 2 * 2 * c  # two 3x3 convolutions, each with a scale and a shift

    def entry(patch, c):
        return patch * c + 2 * c

    stages = entry(9 * 48, 32) + block(32)
    stages += entry(4 * 32, 64) + 2 * block(64)
    stages += entry(4 * 64, 128) + 2 * block(128)
    stages += entry(4 * 128, 256) + block(256)
    top_down = (64 + 128 + 256) * 96 + 2 * 96 + block(96)
    model = abstract_model(CompactFeatures)
    assert _count(model) == stages + top_down == 2_334_336


@pytest.mark.parametrize(
    ("config", "size", "expected"),
    [
        (CompactConfig(), 128, (16, 16, 96)),
        (CompactConfig(), (64, 96), (8, 12, 96)),
        (TINY, (48, 32), (6, 4, 5)),
        (CompactConfig(widths=(4, 6), blocks=(0, 0), out_blocks=0, out_channels=3), 8, (1, 1, 3)),
    ],
)
def test_output_shape_is_the_shape_of_the_output(config, size, expected):
    model = abstract_model(partial(CompactFeatures, config))
    model.train()
    assert model.output_shape(size) == expected
    assert model.out_channels == expected[-1]
    height, width = (size, size) if isinstance(size, int) else size
    images = jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32)
    assert nnx.eval_shape(lambda m, x: m(x), model, images).shape == (2, *expected)


@pytest.mark.parametrize("size", [0, 8, 40, (64, 24), (100, 64)])
def test_a_size_that_does_not_fit_is_a_users_error(size):
    model = abstract_model(CompactFeatures)
    with pytest.raises(UserError, match=r"doesn't fit .* use a multiple of 32 px"):
        model.output_shape(size)


@pytest.mark.parametrize("shape", [(64, 64, 3), (1, 64, 64, 4), (1, 24, 24, 3)])
def test_other_arrays_are_a_users_error(shape):
    with pytest.raises(UserError, match=r"px|takes images"):
        abstract_model(partial(CompactFeatures, TINY))(jnp.zeros(shape))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": (32,), "blocks": (1,)}, "widths is .* two stages or more"),
        ({"blocks": (1, 1)}, "blocks is .* each of 4 widths"),
        ({"out_channels": 0}, "out_channels is 0: use 1 or more"),
        ({"out_blocks": -1}, "out_blocks is -1: use 0 or more"),
    ],
)
def test_a_config_that_cannot_be_built_says_why(changes, message):
    with pytest.raises(UserError, match=message):
        CompactConfig(**changes)


def test_patches_and_upsample_by_hand():
    x = np.arange(16).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(patches(x, 2)[0, 0, 1], [2, 3, 6, 7])
    np.testing.assert_array_equal(patches(x, 2)[0, 1, 0], [8, 9, 12, 13])
    np.testing.assert_array_equal(
        upsample(np.array([[1, 2]])[None, :, :, None])[0, :, :, 0], [[1, 1, 2, 2]] * 2
    )


def test_a_block_takes_part_from_the_start():
    model = _evaluated(TINY)
    x = np.abs(_images(2, 4, 4, 4))
    for training in (True, False):
        model.train() if training else model.eval()
        assert np.abs(_run(model.stages[0].blocks[0], x) - x).mean() > 0.1
    assert len(_blocks(model)) == 4


def test_features_stand_where_the_image_does():
    """Mirrored filters on a mirrored image give mirrored features: exact only when cells are centred on patches."""
    model, mirrored = _evaluated(TINY), _evaluated(TINY)
    for stage in mirrored.stages:
        kernel = np.asarray(
            stage.conv.kernel
        )  # [kh, kw, side, side, c] with the patches' pixels apart
        kh, kw, _, out = kernel.shape
        apart = kernel.reshape(kh, kw, stage.stride, stage.stride, -1, out)
        stage.conv.kernel.set_value(apart[:, ::-1, :, ::-1].reshape(kernel.shape))
    for block in _blocks(mirrored):
        for conv in (block.conv1, block.conv2):
            conv.kernel.set_value(np.asarray(conv.kernel)[:, ::-1])
    images = _images(2, 32, 48, 3)
    features = np.asarray(_run(model, images))
    assert np.abs(features - features[:, :, ::-1]).max() > 0.1
    found = _run(mirrored, images[:, :, ::-1])
    np.testing.assert_allclose(found, features[:, :, ::-1], atol=1e-5)


def test_a_feature_sees_the_whole_image():
    model = _evaluated(CompactConfig(widths=(4, 4, 4, 4), out_channels=4))
    images = _images(1, 128, 128, 3)

    def corner(x):
        return jnp.square(model(x)[0, 0, 0]).sum()

    seen = np.abs(np.asarray(jax.jit(jax.grad(corner))(images)))[0].sum(-1) > 0
    assert seen[:8, :8].all()
    assert seen[-8:, -8:].any()


def test_training_uses_the_batchs_statistics_and_evaluation_the_running_ones():
    model = _evaluated(TINY)
    images = _images(4, 16, 16, 3)
    before = _run(model, images)
    np.testing.assert_allclose(_run(model, images[:1])[0], before[0], atol=1e-5)
    model.train()
    first = _run(model.stages[0].conv, patches(images, 4))
    mean = np.mean(first, (0, 1, 2))
    _run(model, images)
    np.testing.assert_allclose(model.stages[0].norm.mean[...], 0.1 * mean, rtol=1e-4, atol=1e-6)
    model.eval()
    assert not np.allclose(_run(model, images), before)


def test_every_parameter_gets_a_gradient_once_the_blocks_are_open():
    model = _evaluated(TINY)
    model.train()
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def loss(params):
        features = nnx.merge(graphdef, params, rest, copy=True)(_images(2, 32, 32, 3))
        return jnp.square(features - _images(*features.shape, seed=1)).sum()

    for path, gradient in jax.tree.leaves_with_path(jax.jit(jax.grad(loss))(params)):
        assert np.abs(gradient).max() > 0, path


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_activations_have_the_asked_type_and_parameters_float32(dtype):
    model = _evaluated(TINY, dtype=dtype)
    features = _run(model, _images(1, 16, 16, 3))
    assert features.dtype == dtype
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model))} == {jnp.dtype(jnp.float32)}
    np.testing.assert_allclose(
        np.float32(features), _run(_evaluated(TINY), _images(1, 16, 16, 3)), atol=0.1, rtol=0.1
    )
