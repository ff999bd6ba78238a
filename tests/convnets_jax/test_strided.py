"""Strided and transposed convolutions, against XLA's own, Flax's, and the gradients of both."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from convnets_jax.strided import strided_conv, transposed_conv

# Kernel, stride, height, width. The stride divides the kernel, the sides, both or neither; some kernels are below it.
SHAPES = [
    (4, 2, 12, 8),
    (2, 2, 4, 6),
    (6, 2, 8, 8),
    (6, 3, 9, 6),
    (4, 4, 8, 12),
    (3, 2, 12, 8),
    (5, 2, 6, 6),
    (2, 3, 6, 9),
    (4, 2, 9, 8),
    (4, 2, 8, 9),
    (3, 2, 7, 5),
    (3, 1, 5, 6),
    (4, 1, 6, 5),
]


def _plain_strided(x, kernel, stride):
    strides, layout = (stride, stride), ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, strides, "SAME", dimension_numbers=layout)


def _plain_transposed(x, kernel, stride):
    return lax.conv_transpose(x, kernel, (stride, stride), "SAME")


FORMS = [(strided_conv, _plain_strided), (transposed_conv, _plain_transposed)]
both = pytest.mark.parametrize(("ours", "plain"), FORMS, ids=["strided", "transposed"])


def _normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def _signs(shape, dtype, seed):
    """-1, 0 and 1: all sums of their products here are below 256 and so exact, in bfloat16 too."""
    return jnp.asarray(np.random.default_rng(seed).integers(-1, 2, shape), dtype)


@partial(jax.jit, static_argnums=(0, 1))
def _value_and_gradients(convolution, stride, x, kernel, g):
    y, vjp = jax.vjp(lambda x, kernel: convolution(x, kernel, stride), x, kernel)
    return y, *vjp(g)


@both
@pytest.mark.parametrize(
    ("dtype", "side", "stride", "height", "width"),
    [(jnp.float32, *shape) for shape in SHAPES]
    + [(jnp.bfloat16, *shape) for shape in ((4, 2, 12, 8), (3, 2, 12, 8), (4, 2, 9, 8))],
)
def test_value_and_gradients_equal_xlas(ours, plain, dtype, side, stride, height, width):
    x = _signs((2, height, width, 3), dtype, 0)
    kernel = _signs((side, side, 3, 5), dtype, 1)
    out = jax.eval_shape(lambda: plain(x, kernel, stride))
    g = _signs(out.shape, dtype, 2)
    expected = _value_and_gradients(plain, stride, x, kernel, g)
    found = _value_and_gradients(ours, stride, x, kernel, g)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype == dtype
        np.testing.assert_array_equal(a, b)


@both
def test_real_numbers_agree_to_rounding(ours, plain):
    x, kernel = _normal(2, 16, 16, 24), _normal(4, 4, 24, 8, seed=1)
    g = _normal(*plain(x, kernel, 2).shape, seed=2)
    expected = _value_and_gradients(plain, 2, x, kernel, g)
    for a, b in zip(_value_and_gradients(ours, 2, x, kernel, g), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * float(jnp.abs(b).max()))


@pytest.mark.parametrize(("side", "stride"), [(4, 2), (3, 2)])
def test_the_conventions_are_flaxs(side, stride):
    x, size = _normal(2, 12, 12, 3), (side, side)
    down = nnx.Conv(3, 5, size, strides=stride, use_bias=False, rngs=nnx.Rngs(0))
    up = nnx.ConvTranspose(3, 5, size, strides=stride, use_bias=False, rngs=nnx.Rngs(0))
    for layer, ours in ((down, strided_conv), (up, transposed_conv)):
        np.testing.assert_allclose(ours(x, layer.kernel[...], stride), layer(x), atol=1e-5)


@both
def test_under_jit_and_vmap(ours, plain):
    x, kernels = _normal(3, 2, 8, 8, 3), _normal(3, 4, 4, 3, 5, seed=1)

    def gradients(convolution):
        def loss(x, kernel):
            return jnp.sum(jnp.sin(convolution(x, kernel, 2)))

        return jax.vmap(jax.grad(loss, (0, 1)))(x, kernels)

    found, expected = (jax.jit(partial(gradients, form))() for form in (ours, plain))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4)


@both
def test_the_gradient_of_a_gradient(ours, plain):
    x, kernel = _normal(1, 8, 8, 2), _normal(4, 4, 2, 3, seed=1)

    def second(convolution):
        def loss(x, kernel):
            return jnp.sum(jnp.sin(convolution(x, kernel, 2) / 5))

        def slope(x, kernel):
            return sum(jnp.sum(jnp.square(g)) for g in jax.grad(loss, (0, 1))(x, kernel))

        return jax.jit(jax.grad(slope, (0, 1)))(x, kernel)

    for a, b in zip(second(ours), second(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * float(jnp.abs(b).max()))


@both
@pytest.mark.parametrize(("platform", "spreads"), [("cpu", False), ("cuda", True), ("tpu", True)])
def test_on_cpu_no_convolution_runs_over_a_spread_out_input(ours, plain, platform, spreads):
    del plain
    gradient = jax.jit(jax.grad(lambda x, kernel: jnp.sum(ours(x, kernel, 2) ** 2), (0, 1)))
    traced = gradient.trace(jnp.zeros((1, 8, 8, 2)), jnp.zeros((4, 4, 2, 2)))
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert text.count("stablehlo.convolution") >= 3
    assert ("lhs_dilate = [2, 2]" in text) == spreads
