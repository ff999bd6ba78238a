import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from deeppose_jax import affine, codec

coordinates = st.floats(-500, 500, width=32)
sizes = st.floats(0.5, 1000, width=32)


@settings(deadline=None)
@given(
    arrays(np.float32, (2, 3, 2), elements=coordinates), arrays(np.float32, (2, 4), elements=sizes)
)
def test_decode_undoes_encode(joints, boxes):
    back = codec.decode(codec.encode(joints, boxes), boxes)
    np.testing.assert_allclose(back, joints, atol=1e-3)


def test_the_box_becomes_the_unit_square_about_zero():
    box = np.array([10.0, 20.0, 8.0, 4.0])
    corners = np.array([[6.0, 18.0], [14.0, 22.0], [10.0, 20.0], [12.0, 20.0]])
    expected = [[-0.5, -0.5], [0.5, 0.5], [0.0, 0.0], [0.25, 0.0]]
    np.testing.assert_allclose(codec.encode(corners, box), expected)


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3)])
def test_shapes_that_do_not_belong_together_are_refused(shape):
    with pytest.raises(ValueError, match="don't fit"):
        codec.encode(np.zeros((2, 14, 2)), np.ones(shape))


def random_maps(seed, n):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=(n, 2, 3)) + 2 * np.eye(2, 3), jnp.float32)


def test_affine_maps_compose_and_invert():
    first, second = random_maps(0, 5), random_maps(1, 5)
    points = jnp.asarray(np.random.default_rng(2).normal(size=(5, 7, 2)), jnp.float32)
    both = affine.apply(affine.compose(second, first), points)
    np.testing.assert_allclose(both, affine.apply(second, affine.apply(first, points)), atol=1e-4)
    np.testing.assert_allclose(
        affine.apply(affine.invert(first), affine.apply(first, points)), points, atol=1e-4
    )


def test_a_box_maps_to_the_outer_edges_of_the_pixels():
    maps = affine.box_to_pixels(jnp.array([[10.0, 20.0, 8.0, 4.0]]), 16)
    corners = jnp.array([[[6.0, 18.0], [14.0, 22.0]]])
    np.testing.assert_allclose(
        affine.apply(maps, corners), [[[-0.5, -0.5], [15.5, 15.5]]], atol=1e-5
    )


def test_warp_agrees_with_bilinear_interpolation_in_float64():
    rng = np.random.default_rng(0)
    image = rng.uniform(size=(9, 7, 3)).astype(np.float32)
    matrix = np.array([[0.5, 0.2, -0.7], [-0.1, 0.8, 0.3]])
    got = affine.warp(image[None], jnp.asarray(matrix, jnp.float32)[None], 10)[0]
    padded = np.zeros((13, 11, 3))
    padded[2:-2, 2:-2] = image
    for row in range(10):
        for column in range(10):
            x, y = matrix[:, :2] @ [column, row] + matrix[:, 2]
            if not (-1 <= x <= 7 and -1 <= y <= 9):
                np.testing.assert_array_equal(got[row, column], 0)
                continue
            i, j = int(np.floor(y)), int(np.floor(x))
            v, u = y - i, x - j
            taps = padded[i + 2 : i + 4, j + 2 : j + 4]
            weights = np.outer([1 - v, v], [1 - u, u])[..., None]
            np.testing.assert_allclose(got[row, column], (taps * weights).sum((0, 1)), atol=1e-5)


def test_warp_is_jittable_and_keeps_an_image_under_the_identity():
    images = np.random.default_rng(0).uniform(size=(2, 6, 6, 3)).astype(np.float32)
    same = jax.jit(lambda x: affine.warp(x, jnp.broadcast_to(jnp.eye(2, 3), (2, 2, 3)), 6))(images)
    np.testing.assert_allclose(same, images, atol=1e-6)
