from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from engine_jax.errors import UserError
from engine_jax.synthetic import chunk_keys, octaves, photograph, render_series

CHUNK = 4


@partial(jax.jit, static_argnames="size")
def noise_and_index(key, first, size):
    keys = chunk_keys(key, first, CHUNK)
    return {
        "image": jax.vmap(lambda item: jax.random.uniform(item, (size, size)))(keys),
        "index": first + jnp.arange(CHUNK),
    }


series = partial(render_series, "noise", noise_and_index, CHUNK, size=8)


def test_a_range_is_the_same_part_of_any_other():
    whole = series(seed=1, count=11, start=0)
    part = series(seed=1, count=6, start=3)
    assert whole["index"].tolist() == list(range(11))
    for name, values in part.items():
        np.testing.assert_array_equal(values, whole[name][3:9])
    assert len(np.unique(whole["image"][:, 0, 0])) == 11


def test_large_seeds_give_series_of_their_own():
    seeds = (0, 2**31, 2**32, 2**32 + 2**31, 2**63 - 1)
    corners = [series(seed=seed, count=1, start=0)["image"][0, 0, 0] for seed in seeds]
    assert len(np.unique(corners)) == len(seeds)


@pytest.mark.parametrize("change", [{"seed": -1}, {"count": 0}, {"size": 7}, {"start": -1}])
def test_a_series_that_there_is_not_is_a_users_error(change):
    ((field, value),) = change.items()
    with pytest.raises(UserError, match=f"noise: {field} is {value}, must be at least"):
        series(**{"seed": 0, "count": 1, "start": 0} | change)


def test_octaves_interpolate_their_values_over_the_line():
    matrix, octave = octaves(16, (2, 3))
    assert octave.tolist() == [0, 0, 1, 1, 1]
    at = (np.arange(16) + 0.5) / 16
    np.testing.assert_allclose(matrix[:, :2] @ [10, 20], 10 + 10 * at, rtol=1e-6)
    np.testing.assert_allclose(matrix[:, 2:] @ [0, 1, 0], 1 - np.abs(2 * at - 1), rtol=1e-6)


def test_camera_noise_is_centred_and_of_the_given_amplitude():
    taken = jax.jit(photograph)
    picture = np.full((3, 64, 64), 0.5, np.float32)
    image = np.asarray(taken(jax.random.key(0), picture, np.float32(0.1)))
    assert image.dtype == np.uint8
    assert np.abs(image.astype(float) - 127.5).max() <= 0.2 * 255 + 1
    assert image.mean() == pytest.approx(127.5, abs=1)
    assert image.std() == pytest.approx(255 * 0.1 * np.sqrt(2 / 3), rel=0.05)
    assert (np.asarray(taken(jax.random.key(0), picture, np.float32(0))) == 128).all()
