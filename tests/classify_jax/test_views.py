import jax
import jax.numpy as jnp
import numpy as np
import pytest

from classify_jax import augment as module
from classify_jax.augment import AugmentConfig, principal_components
from classify_jax.views import View, crop, views

augment = jax.jit(module.augment, static_argnums=(2, 4))


def numbered(n: int, side: int) -> np.ndarray:
    """Images whose pixels are all different within an image."""
    row, column = np.divmod(np.arange(side**2, dtype=np.uint8).reshape(side, side), side)
    image = np.stack([row, column, row + column], -1)
    return np.stack([image + 20 * i for i in range(n)]).astype(np.uint8)


def test_the_views_are_four_corners_the_centre_and_their_mirror_images():
    found = views(8, 5, "five", mirror=True)
    assert found[0] == View(1, 1, False)
    places = {(0, 0), (0, 3), (3, 0), (3, 3), (1, 1)}
    assert {(v.top, v.left) for v in found if v.mirrored} == places
    assert {(v.top, v.left) for v in found if not v.mirrored} == places
    assert len(found) == 10
    assert views(8, 5, "centre", mirror=False) == [View(1, 1, False)]
    assert views(8, 8, "five", mirror=False) == [View(0, 0, False)]


def test_a_crop_is_a_slice_and_its_mirror_image():
    images = numbered(2, 6)
    tops, lefts = jnp.array([1, 0]), jnp.array([2, 3])
    found = crop(jnp.asarray(images), tops, lefts, jnp.array([False, True]), 3)
    assert (found[0] == images[0, 1:4, 2:5]).all()
    assert (found[1] == images[1, 0:3, 5:2:-1]).all()


def test_random_crops_are_slices_of_their_images_in_all_places():
    images = jnp.asarray(numbered(1, 6).repeat(200, 0))
    config = AugmentConfig(mirror=True, colour=0.0)
    found = augment(jax.random.key(0), images, 4, jnp.eye(3), config)
    pixels = np.asarray(jnp.round(found * 255)).astype(int)
    seen = set()
    for image in pixels:
        top, left = image[0, :, :2].min(0)
        straight = images[0, top : top + 4, left : left + 4]
        mirrored = bool(image[0, 0, 1] > image[0, 1, 1])
        assert (image == (straight[:, ::-1] if mirrored else straight)).all()
        seen.add((int(top), int(left), mirrored))
    assert len(seen) == 3 * 3 * 2


def test_without_mirror_images_none_is_mirrored():
    images = jnp.asarray(numbered(1, 4).repeat(32, 0))
    plain = AugmentConfig(mirror=False, colour=0.0)
    found = augment(jax.random.key(0), images, 4, jnp.eye(3), plain)
    np.testing.assert_allclose(found, images / 255, atol=1e-6)


def test_colour_noise_is_one_shift_for_all_pixels_of_an_image():
    images = jnp.asarray(numbered(1, 4).repeat(4000, 0))
    components = jnp.array([[0.3, 0.0, 0.0], [0.0, 0.2, 0.2], [0.0, 0.0, 0.0]])
    config = AugmentConfig(mirror=False, colour=0.5)
    found = augment(jax.random.key(0), images, 4, components, config)
    shifts = np.asarray(found - images / 255)
    np.testing.assert_allclose(shifts, np.broadcast_to(shifts[:, :1, :1], shifts.shape), atol=1e-6)
    red, green, blue = shifts[:, 0, 0].T
    assert red.std() == pytest.approx(0.15, rel=0.05)
    assert green.std() == pytest.approx(0.10, rel=0.05)
    np.testing.assert_allclose(green, blue, atol=1e-6)
    assert abs(np.corrcoef(red, green)[0, 1]) < 0.05


def test_principal_components_are_those_of_the_covariance():
    random = np.random.default_rng(0)
    axes = np.linalg.qr(random.normal(size=(3, 3)))[0]
    deviations = np.array([0.02, 0.05, 0.12])
    colours = 0.5 + random.normal(size=(40, 30, 30, 3)) * deviations @ axes
    images = np.round(colours.clip(0, 1) * 255).astype(np.uint8)
    found = principal_components(images)
    lengths = np.linalg.norm(found, axis=1)
    np.testing.assert_allclose(lengths, deviations**2, rtol=0.03)
    directions = found / lengths[:, None]
    np.testing.assert_allclose(abs((directions * axes).sum(1)), 1, atol=1e-2)
