"""Pooling, local response normalisation and sizes, against NumPy and against XLA's own gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from convnets_jax.layers import (
    Window,
    adaptive_avg_pool,
    check_images,
    feature_shape,
    local_response_norm,
    max_pool,
)
from engine_jax.errors import UserError


def _plain_pool(x, window, stride):
    return nnx.max_pool(x, (window, window), (stride, stride), "VALID")


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
        x = jnp.asarray(
            np.maximum(_images(2, height, width, 5), 0)
        )  # many ties at 0, as after a ReLU
        expected, expected_vjp = jax.vjp(lambda x: _plain_pool(x, window, stride), x)
        found, found_vjp = jax.vjp(lambda x: max_pool(x, window, stride), x)
        g = jnp.asarray(_images(*expected.shape))
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_allclose(found_vjp(g)[0], expected_vjp(g)[0], rtol=0, atol=1e-14)


def test_max_pools_padding_is_never_the_maximum():
    x = jnp.asarray(_images(2, 5, 6, 3) - 10, np.float32)
    found, vjp = jax.vjp(lambda x: max_pool(x, 3, 2, 1), x)
    padding = [(1, 1), (1, 1)]
    expected, expected_vjp = jax.vjp(lambda x: nnx.max_pool(x, (3, 3), (2, 2), padding), x)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(vjp(found)[0], expected_vjp(found)[0])


def test_max_pool_gives_a_tie_to_the_first():
    x = jnp.zeros((1, 5, 5, 1))
    gradient = jax.grad(
        lambda x: jnp.sum(max_pool(x) * jnp.array([[1.0, 2.0], [3.0, 4.0]])[..., None])
    )(x)
    expected = np.zeros((5, 5))
    expected[0, 0], expected[0, 2], expected[2, 0], expected[2, 2] = 1, 2, 3, 4
    np.testing.assert_array_equal(gradient[0, :, :, 0], expected)


def test_max_pool_under_jit_and_vmap():
    x = jnp.asarray(_images(3, 2, 9, 9, 4), np.float32)

    def gradient(pool):
        return jax.vmap(jax.grad(lambda x: jnp.sum(jnp.sin(pool(x, 3, 2)))))(x)

    found = jax.jit(lambda: gradient(max_pool))()
    np.testing.assert_allclose(found, gradient(_plain_pool), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("platform", "plain"), [("cpu", False), ("cuda", True), ("tpu", True)])
def test_only_the_cpu_takes_the_written_out_gradient(platform, plain):
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(max_pool(x))))
    lowered = gradient.trace(jnp.zeros((1, 9, 9, 2))).lower(lowering_platforms=(platform,))
    assert ("select_and_scatter" in lowered.as_text()) == plain


def _lrn_by_the_formula(x, size, k, alpha):
    channels = x.shape[-1]
    out = np.empty_like(x)
    for c in range(channels):
        low, high = max(0, c - size // 2), min(channels - 1, c + size // 2)
        out[..., c] = x[..., c] / (k + alpha * (x[..., low : high + 1] ** 2).sum(-1)) ** 0.75
    return out


# With the paper's alpha the sum hardly matters beside k; the larger one makes a wrong window show.
@pytest.mark.parametrize("alpha", [1e-4, 0.3])
@pytest.mark.parametrize("channels", [3, 8])
def test_local_response_norm_is_the_papers_formula(alpha, channels):
    with jax.enable_x64(True):
        x = _images(2, 3, 4, channels) * 3
        found = local_response_norm(jnp.asarray(x), alpha=alpha)
        np.testing.assert_allclose(found, _lrn_by_the_formula(x, 5, 2.0, alpha), rtol=1e-13)


def test_local_response_norms_gradient_is_the_formulas_slope():
    with jax.enable_x64(True):
        x, direction, weight = _images(3, 1, 2, 2, 7)
        gradient = jax.grad(lambda x: jnp.sum(weight * local_response_norm(x, alpha=0.3)))(
            jnp.asarray(x)
        )
        step = 1e-6
        ahead, behind = (
            np.sum(weight * _lrn_by_the_formula(x + s * direction, 5, 2.0, 0.3))
            for s in (step, -step)
        )
        np.testing.assert_allclose(
            np.sum(gradient * direction), (ahead - behind) / (2 * step), rtol=1e-8
        )


def test_local_response_norm_of_bfloat16_sums_in_float32():
    x = jnp.full((1, 1, 1, 5), 9.0, jnp.bfloat16)
    found = local_response_norm(x)
    assert found.dtype == jnp.bfloat16
    # The middle channel sees five times 81: 9 / 2.0405^0.75 = 5.272, and 5.351 if alpha's part were lost.
    assert found[0, 0, 0, 2] == jnp.bfloat16(9 / (2 + 1e-4 * 405) ** 0.75)


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
    np.testing.assert_allclose(adaptive_avg_pool(jnp.asarray(x), out), expected, atol=1e-6)


def test_adaptive_avg_pool_keeps_the_type_and_its_own_size():
    x = jnp.asarray(_images(1, 4, 6, 2), jnp.bfloat16)
    assert adaptive_avg_pool(x, (2, 3)).dtype == jnp.bfloat16
    assert adaptive_avg_pool(x, (4, 6)) is x


def test_feature_shape_is_the_formula_of_each_window():
    windows = [Window(7, 2, 3), Window(3, 2), Window(5)]
    # (30 - 7 + 6) // 2 + 1 = 15, (15 - 3) // 2 + 1 = 7, 7 - 5 + 1 = 3; of 40: 20, 9, 5
    assert feature_shape((30, 40), windows, 8, "network") == (3, 5, 8)
    # Five cells come of 11 and these of 21 - 6 + 7 - 1 pixels.
    assert feature_shape(21, windows, 8, "network") == (1, 1, 8)
    with pytest.raises(UserError, match=r"^an image side of 20 px .* this network: .* 21 px$"):
        feature_shape((30, 20), windows, 8, "network")


def test_check_images():
    check_images(jnp.zeros((1, 2, 2, 1)), "network", 1)
    with pytest.raises(
        UserError, match=r"^network takes images \[b, h, w, 1\], .* \(1, 2, 2, 3\)$"
    ):
        check_images(jnp.zeros((1, 2, 2, 3)), "network", 1)
