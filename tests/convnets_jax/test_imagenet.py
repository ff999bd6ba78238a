import jax.numpy as jnp
import numpy as np

from convnets_jax.imagenet import normalise


def test_the_mean_colour_becomes_zero_and_a_deviation_one():
    colours = jnp.array([[0.485, 0.456, 0.406], [0.485 + 0.229, 0.456, 0.406 - 0.225]])
    np.testing.assert_allclose(normalise(colours), [[0, 0, 0], [1, 0, -1]], atol=1e-6)
