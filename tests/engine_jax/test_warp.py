"""The bilinear warp: its definition in float64, what lies outside, whole pixels, and full precision; on TPUs too."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from engine_jax.warp import bilinear, by_products, input_maps, warp
from tests.platform_forms import computed_as_on

# SciPy's names of the borders; "zero" fades to 0 within the pixel beyond the outermost ones.
MODES = {"zero": "grid-constant", "edge": "nearest"}


def image(height=9, width=7, seed=0):
    return np.random.default_rng(seed).uniform(size=(height, width, 3)).astype(np.float32)


def one(image, matrix, size, border):
    warped = jax.jit(partial(warp, size=size, diagonal=1.0, border=border))
    return np.asarray(warped(image[None], np.float32(matrix)[None]))[0]


@pytest.mark.usefixtures("each_form")
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


@pytest.mark.usefixtures("each_form")
@pytest.mark.parametrize("border", ["zero", "edge"])
def test_whole_pixels_are_copied(border):
    images = np.stack([image(6, 6, seed) for seed in range(2)])
    maps = np.array([[[1, 0, 0], [0, 1, 0]], [[-1, 0, 5], [0, 1, 2]]], np.float32)
    found = jax.jit(lambda images: warp(images, maps, 6, diagonal=1.5, border=border))(images)
    np.testing.assert_array_equal(found[0], images[0])
    below = np.zeros((2, 6, 3)) if border == "zero" else images[1, [5, 5], ::-1]
    np.testing.assert_array_equal(found[1], np.concatenate([images[1, 2:, ::-1], below]))


@jax.jit
def four_neighbours(part, rows, columns):
    height, width = part.shape[:2]

    def pixels(row, column):
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        found = part[jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)]
        return jnp.where(inside[..., None], found, 0)

    return bilinear(pixels, rows, columns)


@pytest.mark.parametrize(
    ("height", "width", "size", "angle", "step"),
    [
        (300, 170, 40, 0.7, 2.0),
        (50, 400, 33, -2.2, 0.4),
        (64, 64, 128, 0.0, 0.5),
        (3, 2, 17, 1.0, 5),
    ],
)
def test_products_are_the_four_neighbours(height, width, size, angle, step):
    """To 1e-4 grey levels, of the whole of an image and of a part."""
    shown = image(height, width)
    ticks = np.arange(size) - size / 2
    x, y = step * ticks[None, :], step * ticks[:, None]
    rows = np.float32(np.cos(angle) * y - np.sin(angle) * x + height / 3)
    columns = np.float32(np.cos(angle) * x + np.sin(angle) * y + width / 3)
    products = jax.jit(partial(by_products, diagonal=1.01 * 2**0.5 * step))
    for corner, extent in [
        ((0, 0), (height, width)),
        ((height // 2, 1), (height // 3, width // 2)),
    ]:
        (top, left), (high, wide) = corner, extent
        part = shown[top : top + high, left : left + wide]
        corner, extent = np.int32(corner), np.int32(extent)
        found = products(shown, rows, columns, corner=corner, extent=extent)
        np.testing.assert_allclose(found, four_neighbours(part, rows, columns), atol=1e-4 / 255)


def test_more_images_by_vmap_and_their_gradients():
    images = np.stack([image(40, 40, seed) for seed in range(3)])
    angles, still = np.float32([0.3, -1, 2]), np.zeros((3, 2), np.float32)

    def loss(images, form):
        maps = input_maps(angles, np.ones(3, np.float32), still, 40)
        with computed_as_on(form):
            return (warp(images, maps, 40, diagonal=1.5) ** 2).sum()

    expected, found = (
        jax.jit(jax.grad(partial(loss, form=form)))(images) for form in ("default", "tpu")
    )
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.usefixtures("each_form")
def test_no_product_is_rounded():
    """A TPU rounds the operands of a product of default precision to bfloat16: coordinates, or pixels."""
    turned = partial(warp, image()[None], size=5, diagonal=1.5)
    program = str(jax.make_jaxpr(turned)(jnp.ones((1, 2, 3))))
    assert "floor" in program
    assert len(re.findall("dot_general", program)) == len(
        re.findall("precision=.*HIGHEST", program)
    )


def test_an_unknown_border_is_refused():
    with pytest.raises(ValueError, match="'zero' or 'edge', got 'mirror'"):
        warp(image()[None], jnp.ones((1, 2, 3)), 5, diagonal=1.0, border="mirror")  # pyright: ignore[reportArgumentType]
