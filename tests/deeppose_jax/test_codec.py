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
    arrays(np.float32, (2, 3, 2), elements=coordinates),
    arrays(np.float32, (2, 2), elements=coordinates),
    arrays(np.float32, (2, 2), elements=sizes),
)
def test_decode_undoes_encode(joints, corners, extents):
    boxes = np.concatenate([corners, corners + extents], 1)
    back = codec.decode(codec.encode(joints, boxes), boxes)
    np.testing.assert_allclose(back, joints, atol=1e-3)


def test_the_box_becomes_the_unit_square_about_zero():
    box = np.array([6.0, 18.0, 14.0, 22.0])
    corners = np.array([[6.0, 18.0], [14.0, 22.0], [10.0, 20.0], [12.0, 20.0]])
    expected = [[-0.5, -0.5], [0.5, 0.5], [0.0, 0.0], [0.25, 0.0]]
    np.testing.assert_allclose(codec.encode(corners, box), expected)


@pytest.mark.usefixtures("unchecked_shapes")
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
    maps = affine.box_to_pixels(jnp.array([[6.0, 18.0, 14.0, 22.0]]), 16)
    corners = jnp.array([[[6.0, 18.0], [14.0, 22.0]]])
    np.testing.assert_allclose(
        affine.apply(maps, corners), [[[-0.5, -0.5], [15.5, 15.5]]], atol=1e-5
    )


@pytest.mark.parametrize(
    "function",
    [
        lambda maps, points: affine.apply(maps, points),
        lambda maps, points: affine.compose(maps, maps),
        lambda maps, points: affine.invert(maps),
    ],
)
def test_maps_are_computed_without_matrix_products(function):
    """A TPU rounds their operands to bfloat16."""
    program = jax.make_jaxpr(function)(random_maps(0, 5), jnp.ones((5, 7, 2)))
    assert "mul" in str(program)
    assert "dot_general" not in str(program)
