"""The bilinear warp: its definition in float64, what lies outside, whole pixels, and full precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from engine_jax.warp import warp

# SciPy's names of the borders; "zero" fades to 0 within the pixel beyond the outermost ones.
MODES = {"zero": "grid-constant", "edge": "nearest"}


def image(height=9, width=7, seed=0):
    return np.random.default_rng(seed).uniform(size=(height, width, 3)).astype(np.float32)


def one(image, matrix, size, border):
    return np.asarray(
        warp(image[None], jnp.asarray(matrix, jnp.float32)[None], size, border=border)
    )[0]


@pytest.mark.parametrize("border", ["zero", "edge"])
@pytest.mark.parametrize("shift", [(-0.7, 0.3), (-4.2, -3.1), (60.0, 2.0)])
def test_warp_is_scipy_s(border, shift):
    """A 9 x 7 image on 10 x 10 pixels: across its borders, its corner, and beside it."""
    matrix = np.array([[0.5, 0.2, shift[0]], [-0.1, 0.8, shift[1]]])
    found = one(image(), matrix, 10, border)
    # SciPy's axes are (y, x).
    linear, offset = matrix[::-1, 1::-1], matrix[::-1, 2]
    for channel in range(3):
        expected = ndimage.affine_transform(
            image()[..., channel].astype(np.float64),
            linear,
            offset,  # pyright: ignore[reportArgumentType]
            output_shape=(10, 10),
            order=1,
            mode=MODES[border],
        )
        np.testing.assert_allclose(found[..., channel], expected, atol=2e-6)


@pytest.mark.parametrize("border", ["zero", "edge"])
def test_whole_pixels_are_copied(border):
    images = np.stack([image(6, 6, seed) for seed in range(2)])
    maps = np.array([[[1, 0, 0], [0, 1, 0]], [[-1, 0, 5], [0, 1, 2]]], np.float32)
    found = jax.jit(lambda images: warp(images, maps, 6, border=border))(images)
    np.testing.assert_array_equal(found[0], images[0])
    below = np.zeros((2, 6, 3)) if border == "zero" else images[1, [5, 5], ::-1]
    np.testing.assert_array_equal(found[1], np.concatenate([images[1, 2:, ::-1], below]))


def test_coordinates_are_computed_without_matrix_products():
    """A TPU rounds their operands to bfloat16."""
    program = jax.make_jaxpr(lambda maps: warp(image()[None], maps, 5))(jnp.ones((1, 2, 3)))
    assert "floor" in str(program)
    assert "dot_general" not in str(program)


def test_an_unknown_border_is_refused():
    with pytest.raises(ValueError, match="'zero' or 'edge', got 'mirror'"):
        warp(image()[None], jnp.ones((1, 2, 3)), 5, border="mirror")  # pyright: ignore[reportArgumentType]
