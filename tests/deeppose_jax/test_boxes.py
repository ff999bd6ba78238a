import jax.numpy as jnp
import numpy as np
from PIL import Image

from deeppose_jax import boxes
from deeppose_jax.data import place


def test_a_whole_image_reaches_to_the_outer_edges_of_its_pixels():
    assert boxes.whole_image(80, 40) == (-0.5, -0.5, 79.5, 39.5)
    centre, size = boxes.centre_and_size(np.array(boxes.whole_image(80, 40)))
    np.testing.assert_array_equal(centre, [39.5, 19.5])
    np.testing.assert_array_equal(size, [80, 40])


def test_the_whole_image_is_placed_without_resampling_when_it_fits():
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
    canvas, _ = place(Image.fromarray(pixels), boxes.whole_image(12, 12), 12)
    np.testing.assert_array_equal(canvas, pixels)


def test_centre_and_size_come_back():
    corners = jnp.array([[[1.0, 2.0, 5.0, 10.0], [-3.0, 0.0, -1.0, 4.0]]])
    centre, size = boxes.centre_and_size(corners)
    np.testing.assert_array_equal(centre, [[[3, 6], [-2, 2]]])
    np.testing.assert_array_equal(size, [[[4, 8], [2, 4]]])
    np.testing.assert_array_equal(boxes.from_centre_and_size(centre, size), corners)
    square = boxes.from_centre_and_size(centre, jnp.array([[[2.0]]]))
    np.testing.assert_array_equal(square, [[[2, 5, 4, 7], [-3, 1, -1, 3]]])


def test_a_mirrored_box_keeps_its_corners_in_order():
    maps = jnp.array([[[-2.0, 0.0, 10.0], [0.0, 2.0, 1.0]]])
    moved = boxes.mapped(jnp.array([[[1.0, 2.0, 5.0, 10.0]]]), maps)
    np.testing.assert_array_equal(moved, [[[0, 5, 8, 21]]])
