"""Weights drawn as one row are those of nnx.initializers, whose distributions are documented."""

import jax
import numpy as np
import pytest
from flax import nnx

from convnets_jax import initializers

PAIRS = {
    "normal": (initializers.normal(0.01), nnx.initializers.normal(0.01)),
    "fan_in_normal": (
        initializers.fan_in_normal(3.0),
        nnx.initializers.variance_scaling(3.0, "fan_in", "normal"),
    ),
    "he_normal": (initializers.he_normal(), nnx.initializers.he_normal()),
    "lecun_normal": (initializers.lecun_normal(), nnx.initializers.lecun_normal()),
}


@pytest.mark.parametrize("shape", [(3, 5, 6, 7), (6, 7)], ids=["convolution", "linear"])
@pytest.mark.parametrize("name", PAIRS)
def test_draws_are_those_of_nnx(name, shape):
    flat, reference = PAIRS[name]
    key = jax.random.key(3)
    expected = reference(key, shape)
    found = flat(key, shape)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_draws_of_another_type():
    assert initializers.he_normal()(jax.random.key(0), (2, 3), "bfloat16").dtype == "bfloat16"
