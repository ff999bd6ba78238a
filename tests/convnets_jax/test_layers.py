"""Local response normalisation against its formula; convolutions and norms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from convnets_jax.layers import ConvNorm, local_response_norm


def _images(*shape):
    return np.random.default_rng(0).normal(size=shape)


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
        found = jax.jit(partial(local_response_norm, alpha=alpha))(x)
        np.testing.assert_allclose(found, _lrn_by_the_formula(x, 5, 2.0, alpha), rtol=1e-13)


def test_local_response_norms_gradient_is_the_formulas_slope():
    with jax.enable_x64(True):
        x, direction, weight = _images(3, 1, 2, 2, 7)
        weighted = jax.grad(lambda x: jnp.sum(weight * local_response_norm(x, alpha=0.3)))
        gradient = jax.jit(weighted)(x)
        step = 1e-6
        ahead, behind = (
            np.sum(weight * _lrn_by_the_formula(x + s * direction, 5, 2.0, 0.3))
            for s in (step, -step)
        )
        np.testing.assert_allclose(
            np.sum(gradient * direction), (ahead - behind) / (2 * step), rtol=1e-8
        )


def test_local_response_norm_of_bfloat16_sums_in_float32():
    x = np.full((1, 1, 1, 5), 9.0, jnp.bfloat16)
    found = jax.jit(local_response_norm)(x)
    assert found.dtype == jnp.bfloat16
    # The middle channel sees five times 81: 9 / 2.0405^0.75 = 5.272, and 5.351 if alpha's part were lost.
    assert found[0, 0, 0, 2] == jnp.bfloat16(9 / (2 + 1e-4 * 405) ** 0.75)


@pytest.mark.parametrize(("padding", "before"), [(None, 1), ("SAME", 0)])
def test_a_convolution_at_stride_2_is_padded_as_in_torch_unless_told_otherwise(padding, before):

    @nnx.jit
    def outputs(x):
        module = ConvNorm(
            2, 3, 3, 2, padding=padding, epsilon=1e-3, dtype=jnp.float32, rngs=nnx.Rngs(0)
        )
        module.eval()
        assert module.conv.bias is None
        return module.conv.kernel[...], module(x)

    x = np.float32(_images(1, 6, 6, 2))
    kernel, found = map(np.asarray, outputs(x))
    # The first window starts `before` pixels outside of the image.
    padded = np.pad(x, ((0, 0), (before, 1), (before, 1), (0, 0)))
    first = np.einsum("hwi,hwio->o", padded[0, :3, :3], kernel)
    expected = np.maximum(first, 0) / np.sqrt(1 + 1e-3)  # the running mean is 0 and the variance 1
    np.testing.assert_allclose(found[0, 0, 0], expected, rtol=1e-5, atol=1e-6)
    assert found.shape == (1, 3, 3, 3)
