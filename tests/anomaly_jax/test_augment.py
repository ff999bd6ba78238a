"""Random changes to training images: what each does, how far it goes, and that it is off at 0."""

from dataclasses import asdict
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from anomaly_jax.augment import AugmentConfig, augment
from engine_jax.config import from_mapping
from engine_jax.errors import UserError
from engine_jax.warp import input_maps, warp

ALL = AugmentConfig(
    rotation=180.0,
    scale=0.3,
    shift=0.1,
    flip_horizontal=True,
    flip_vertical=True,
    brightness=0.1,
    noise=0.05,
)


def images(n=8, size=32, seed=0):
    return np.random.default_rng(seed).uniform(size=(n, size, size, 3)).astype(np.float32)


def apply(config, batch, seed=0):
    run = jax.jit(augment, static_argnames="config")
    return np.asarray(run(jax.random.key(seed), batch, config=config))


@partial(jax.jit, static_argnames="diagonal")
def warped(image, angle, zoom, shift, diagonal):
    maps = input_maps(angle[None], zoom[None], shift[None], size=len(image))
    return warp(image[None], maps, len(image), diagonal=diagonal, border="edge")[0]


def moved(image, angle=0.0, zoom=1.0, shift=(0.0, 0.0)):
    numbers = (jnp.float32(angle), jnp.float32(zoom), np.array(shift, np.float32))
    return np.asarray(warped(image, *numbers, diagonal=1.5 / zoom))


def test_everything_is_off_by_default():
    batch = images()
    np.testing.assert_array_equal(apply(AugmentConfig(), batch), batch)


def test_the_shape_stays_values_stay_in_range_and_the_key_decides():
    batch = images()
    out = apply(ALL, batch)
    assert (out.shape, out.dtype) == (batch.shape, np.float32)
    assert out.min() >= 0
    assert out.max() <= 1
    np.testing.assert_array_equal(out, apply(ALL, batch))
    assert not np.allclose(out, apply(ALL, batch, seed=1))
    same = apply(ALL, np.repeat(batch[:1], 8, 0))
    assert all(np.abs(same[0] - other).max() > 0.05 for other in same[1:])


def test_a_config_comes_back_from_a_mapping_and_its_ranges_are_checked():
    assert from_mapping(AugmentConfig, asdict(ALL)) == ALL
    with pytest.raises(
        UserError, match=r"config.rotation: 181.0 is out of range; accepted: >= 0 and"
    ):
        from_mapping(AugmentConfig, asdict(ALL) | {"rotation": 181.0})


def test_a_shift_moves_right_and_down_and_repeats_the_edge():
    image = images(1)[0]
    expected = np.pad(image, ((2, 0), (3, 0), (0, 0)), mode="edge")[:32, :32]
    np.testing.assert_allclose(moved(image, shift=(3.0, 2.0)), expected, atol=1e-6)
    expected = np.pad(image, ((0, 2), (0, 0), (0, 0)), mode="edge")[2:]
    np.testing.assert_allclose(moved(image, shift=(0.0, -2.0)), expected, atol=1e-6)
    half = (image[:, :-1] + image[:, 1:]) / 2
    np.testing.assert_allclose(moved(image, shift=(0.5, 0.0))[:, 1:], half, atol=1e-6)


@pytest.mark.parametrize("size", [32, 33])
def test_a_quarter_turn_takes_the_x_axis_to_the_y_axis(size):
    image = images(1, size)[0]
    turned = np.rot90(image, -1)  # Clockwise, as y points down.
    np.testing.assert_allclose(moved(image, angle=np.pi / 2), turned, atol=1e-4)


@pytest.mark.parametrize(
    ("angle", "zoom", "shift"),
    [(0.3, 1.0, (0.0, 0.0)), (-1.1, 1.4, (2.5, -4.0)), (2.0, 0.6, (-3, 1.25))],
)
def test_geometry_is_scipy_s(angle, zoom, shift):
    image = images(1)[0]
    # The inverse: output (y, x) comes from input R(-angle) ((y, x) - centre - shift) / zoom + centre.
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
    inverse = np.array([[cos, -sin], [sin, cos]])
    offset = 15.5 - inverse @ (15.5 + np.array(shift[::-1]))
    found = moved(image, angle, zoom, shift)
    for channel in range(3):
        expected = ndimage.affine_transform(
            image[..., channel].astype(np.float64), inverse, offset, order=1, mode="nearest"
        )
        np.testing.assert_allclose(found[..., channel], expected, atol=1e-4)


def test_geometry_brings_nothing_dark_into_view():
    flat = np.full((4, 32, 32, 3), 0.7, np.float32)
    config = AugmentConfig(rotation=45.0, scale=1.0, shift=0.5)
    np.testing.assert_allclose(apply(config, flat), 0.7, atol=1e-5)  # by rounding


def blob(n=64, size=33):
    """A wide one beside the centre, which tells where it went and how large it is."""
    ticks = np.arange(size) - 16
    squared = (ticks[:, None] + 4) ** 2 + (ticks[None, :] - 4) ** 2
    image = np.exp(-squared / 18)[..., None].repeat(3, -1)
    return np.broadcast_to(image, (n, size, size, 3)).astype(np.float32)


def centres(batch):
    """Centres of mass (x, y) against the image's centre."""
    weight, ticks = batch[..., 0].astype(np.float64), np.arange(33) - 16
    total = weight.sum((1, 2))
    return np.stack([weight.sum(1) @ ticks, weight.sum(2) @ ticks], 1) / total[:, None]


def test_rotation_is_in_degrees_to_either_side():
    x, y = centres(apply(AugmentConfig(rotation=20.0), blob())).T
    turned = np.rad2deg(np.arctan2(y, x)) + 45
    assert turned.min() >= -20.5
    assert turned.max() <= 20.5
    assert turned.min() < -15
    assert turned.max() > 15


def test_scale_is_the_log2_of_the_zoom_to_either_side():
    zoom = np.linalg.norm(centres(apply(AugmentConfig(scale=0.4), blob())), axis=1) / np.sqrt(32)
    assert np.log2(zoom).min() >= -0.42
    assert np.log2(zoom).max() <= 0.42
    assert np.log2(zoom).min() < -0.3
    assert np.log2(zoom).max() > 0.3


def test_shift_is_in_parts_of_the_side_in_both_axes():
    moves = centres(apply(AugmentConfig(shift=0.15), blob())) - [4, -4]
    assert np.abs(moves).max() <= 0.15 * 33 + 0.3
    assert (moves.min(0) < -3.5).all()
    assert (moves.max(0) > 3.5).all()
    assert abs(np.corrcoef(moves.T)[0, 1]) < 0.3


def test_flips_mirror_about_half_of_the_images():
    batch = images(64)
    for config, axis in [
        (AugmentConfig(flip_horizontal=True), 2),
        (AugmentConfig(flip_vertical=True), 1),
    ]:
        out = apply(config, batch)
        flipped = (out == np.flip(batch, axis)).all((1, 2, 3))
        assert ((out == batch).all((1, 2, 3)) ^ flipped).all()
        assert 16 < flipped.sum() < 48


def test_brightness_adds_one_number_to_an_image():
    grey = np.full((64, 16, 16, 3), 0.5, np.float32)
    added = apply(AugmentConfig(brightness=0.2), grey) - 0.5
    np.testing.assert_allclose(added - added[:, :1, :1, :1], 0, atol=1e-7)
    assert added.min() < -0.15
    assert added.max() > 0.15
    assert np.abs(added).max() <= 0.2 + 1e-6


def test_noise_differs_by_pixel_and_its_strength_by_image():
    grey = np.full((64, 16, 16, 3), 0.5, np.float32)
    noise = apply(AugmentConfig(noise=0.1), grey) - 0.5
    deviations = noise.std((1, 2, 3))
    assert deviations.max() <= 0.11
    assert deviations.max() > 0.08
    assert deviations.min() < 0.02
    assert np.abs(noise.mean((1, 2, 3))).max() < 0.02
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.1


def test_one_change_draws_the_same_whether_others_are_on():
    batch = images()
    alone = apply(AugmentConfig(flip_horizontal=True), batch)
    brighter = apply(AugmentConfig(flip_horizontal=True, brightness=1e-6), batch)
    np.testing.assert_allclose(alone, brighter, atol=2e-6)
