"""Pools against NumPy and against XLA's own gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from convnets_jax.pooling import adaptive_avg_pool, max_pool


def _plain_pool(x, window=3, stride=2, padding=0):
    return nnx.max_pool(x, (window, window), (stride, stride), [(padding, padding)] * 2)


@partial(jax.jit, static_argnums=(0, 1))
def _value_and_gradient(pool, sizes, x, g):
    y, vjp = jax.vjp(lambda x: pool(x, *sizes), x)
    return y, vjp(g)[0]


def _images(*shape):
    return np.random.default_rng(0).normal(size=shape)


@pytest.mark.parametrize(
    ("height", "width", "window", "stride"),
    [
        (55, 55, 3, 2),
        (13, 13, 3, 2),
        (12, 17, 3, 2),
        (9, 8, 2, 2),
        (11, 10, 3, 1),
        (14, 9, 2, 3),
        (3, 3, 3, 2),
    ],
)
def test_max_pool_and_its_gradient_equal_xlas(height, width, window, stride):
    with jax.enable_x64(True):
        x = np.maximum(_images(2, height, width, 5), 0)  # many ties at 0, as after a ReLU
        g = _images(2, *((side - window) // stride + 1 for side in (height, width)), 5)
        (expected, slope), (found, found_slope) = (
            _value_and_gradient(pool, (window, stride), x, g) for pool in (_plain_pool, max_pool)
        )
        assert found.dtype == jnp.float64
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_allclose(found_slope, slope, rtol=0, atol=1e-14)


def test_max_pools_padding_is_never_the_maximum():
    x = np.float32(_images(2, 5, 6, 3) - 10)
    g = np.float32(_images(2, 3, 3, 3))
    (expected, slope), (found, found_slope) = (
        _value_and_gradient(pool, (3, 2, 1), x, g) for pool in (_plain_pool, max_pool)
    )
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found_slope, slope)


def test_max_pool_gives_a_tie_to_the_first():
    x, g = np.zeros((1, 5, 5, 1), np.float32), np.float32([[1, 2], [3, 4]])
    _, gradient = _value_and_gradient(max_pool, (), x, g[None, ..., None])
    expected = np.zeros((5, 5))
    expected[0, 0], expected[0, 2], expected[2, 0], expected[2, 2] = 1, 2, 3, 4
    np.testing.assert_array_equal(gradient[0, :, :, 0], expected)


def test_max_pool_under_jit_and_vmap():
    x = np.float32(_images(3, 2, 9, 9, 4))

    @partial(jax.jit, static_argnums=0)
    def gradient(pool, x):
        return jax.vmap(jax.grad(lambda x: jnp.sum(jnp.sin(pool(x, 3, 2)))))(x)

    np.testing.assert_allclose(gradient(max_pool, x), gradient(_plain_pool, x), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("platform", "plain"), [("cpu", False), ("cuda", True), ("tpu", True)])
def test_only_the_cpu_takes_the_written_out_gradient(platform, plain):
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(max_pool(x))))
    lowered = gradient.trace(jnp.zeros((1, 9, 9, 2))).lower(lowering_platforms=(platform,))
    assert ("select_and_scatter" in lowered.as_text()) == plain


# Cells that tile, overlap, repeat pixels, and are the pixels.
@pytest.mark.parametrize(("size", "out"), [((6, 4), (3, 2)), ((7, 10), (3, 4)), ((2, 3), (5, 7))])
def test_adaptive_avg_pool_averages_torchs_cells(size, out):
    x = _images(2, *size, 3).astype(np.float32)
    expected = np.empty((2, *out, 3))
    for i in range(out[0]):
        for j in range(out[1]):
            rows = slice(i * size[0] // out[0], -(-(i + 1) * size[0] // out[0]))
            columns = slice(j * size[1] // out[1], -(-(j + 1) * size[1] // out[1]))
            expected[:, i, j] = x[:, rows, columns].mean((1, 2))
    found = jax.jit(adaptive_avg_pool, static_argnums=1)(x, out)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_adaptive_avg_pool_keeps_the_type_and_its_own_size():
    x = jnp.asarray(_images(1, 4, 6, 2), jnp.bfloat16)
    assert adaptive_avg_pool(x, (2, 3)).dtype == jnp.bfloat16
    assert adaptive_avg_pool(x, (4, 6)) is x
