import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from classify_jax import augment as module
from classify_jax.augment import AugmentConfig

augment = jax.jit(module.augment, static_argnums=(2, 4))

PLAIN = {"mirror": False, "colour": 0.0}


def square(n=1, size=32):
    """Grey images with one bright rectangle off the centre."""
    images = np.full((n, size, size, 3), 60, np.uint8)
    images[:, 6:12, 9:22] = 220
    return images


def changed(n=1, **changes):
    images = jnp.asarray(square(n))
    return np.asarray(
        augment(jax.random.key(3), images, 32, np.eye(3), AugmentConfig(**PLAIN, **changes))
    )


def test_without_changes_images_stay():
    np.testing.assert_allclose(changed(2), square(2) / 255, atol=1e-6)


def test_half_of_the_images_are_upside_down():
    found = changed(400, flip_vertical=True)
    upright = np.abs(found - square() / 255).max((1, 2, 3)) < 1e-6
    flipped = np.abs(found - square()[:, ::-1] / 255).max((1, 2, 3)) < 1e-6
    assert (upright ^ flipped).all()
    assert 160 < flipped.sum() < 240


def moments(image):
    """Area of the bright rectangle and the direction of its long side, in degrees from 0 to 180."""
    weight = np.clip((image[..., 0] * 255 - 60) / 160, 0, 1)
    y, x = np.mgrid[0:32, 0:32]
    total = weight.sum()
    dx, dy = x - (weight * x).sum() / total, y - (weight * y).sum() / total
    xx, yy, xy = ((weight * a).sum() for a in (dx * dx, dy * dy, dx * dy))
    return total, np.rad2deg(0.5 * np.arctan2(2 * xy, xx - yy))


def test_rotation_and_scale_reach_to_both_sides_and_no_further():
    angles = np.array([moments(image)[1] for image in changed(300, rotation=20.0)])
    assert -20.5 < angles.min() < -17 < 17 < angles.max() < 20.5
    zooms = np.array([moments(image)[0] for image in changed(300, scale=0.3)]) / (6 * 13)
    reach = np.log2(zooms) / 2
    assert -0.32 < reach.min() < -0.25 < 0.25 < reach.max() < 0.32


def test_blur_is_gaussian_of_at_most_the_given_width():
    image = square()[0, ..., 0] / 255
    candidates = np.linspace(0.01, 2, 200)
    blurred = [ndimage.gaussian_filter(image, s, mode="nearest") for s in candidates]
    found = changed(60, blur=1.5)[..., 0]
    errors = np.abs(found[:, None] - np.stack(blurred)[None]).max((2, 3))
    assert errors.min(1).max() < 0.01
    widths = candidates[errors.argmin(1)]
    assert widths.min() < 0.3
    assert 1.35 < widths.max() < 1.55


def test_other_changes_leave_the_place_of_the_crop_alone():
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (8, 40, 40, 3), np.uint8))
    plain = augment(jax.random.key(0), images, 32, np.eye(3), AugmentConfig(True, 0.0))
    none = AugmentConfig(True, 0.0, rotation=1e-6)
    turned = augment(jax.random.key(0), images, 32, np.eye(3), none)
    np.testing.assert_allclose(turned, plain, atol=1e-3)
