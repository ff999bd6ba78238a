"""Painted faults: what the masks hold, how often each kind comes, and what it looks like."""

from dataclasses import asdict
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from anomaly_jax import faults
from anomaly_jax.faults import FaultsConfig, lattice_size
from engine_jax.config import from_mapping
from engine_jax.errors import UserError

KINDS = ("texture", "patch", "displaced", "stroke")
SIZE = 32
BLANK = np.full((200, 128, 128, 3), 0.5, np.float32)
paint = jax.jit(faults.paint_faults, static_argnames="config")
noise = jax.jit(faults.noise, static_argnums=(2, 3, 4))


@pytest.fixture
def moved(each_form):
    """As it is computed on each kind of device."""
    return jax.jit(lambda *arguments: faults.moved(*arguments))  # traced anew for each form


def only(kind, **fields):
    return FaultsConfig(share=1.0, **{k: float(k == kind) for k in KINDS}, **fields)


@cache
def noisy(n=64):
    """Images in which almost every pixel differs from its neighbours."""
    return np.random.default_rng(0).uniform(size=(n, SIZE, SIZE, 3)).astype(np.float32)


@cache
def uniform(n=64):
    """Images of one colour each."""
    colours = np.random.default_rng(1).uniform(0.2, 0.8, size=(n, 1, 1, 3)).astype(np.float32)
    return np.broadcast_to(colours, (n, SIZE, SIZE, 3))


def apply(config, images, seed=0):
    painted, masks = paint(jax.random.key(seed), images, config=config)
    return np.asarray(painted), np.asarray(masks)


def test_faults_are_off_by_default():
    painted, masks = apply(FaultsConfig(), noisy())
    np.testing.assert_array_equal(painted, noisy())
    assert masks.shape == painted.shape[:3]
    assert not masks.any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_holds_just_the_pixels_that_changed_visibly(kind):
    painted, masks = apply(only(kind), noisy())
    assert (painted.dtype, masks.dtype) == (np.float32, np.float32)
    assert painted.min() >= 0
    assert painted.max() <= 1
    changed = np.abs(painted - noisy()).max(-1) > FaultsConfig().visible
    np.testing.assert_array_equal(masks, changed)
    assert 0.001 < masks.mean() < 0.6
    # Most faults can be seen, and none is everywhere.
    assert (masks.any((1, 2))).mean() > 0.6
    assert masks.mean((1, 2)).max() < 0.999


def test_the_share_of_images_gets_faults_and_the_others_stay_as_they_are():
    images = noisy(400)
    painted, _ = apply(FaultsConfig(share=0.6, texture=0, patch=0, displaced=1, stroke=0), images)
    touched = (painted != images).any((1, 2, 3))
    assert 0.5 < touched.mean() < 0.65


def test_the_key_decides_and_each_image_gets_its_own_fault():
    same = np.repeat(noisy()[:1], 64, 0)
    painted, masks = apply(only("patch"), same)
    np.testing.assert_array_equal(painted, apply(only("patch"), same)[0])
    assert (masks != apply(only("patch"), same, seed=1)[1]).any()
    assert len(np.unique(masks.reshape(64, -1), axis=0)) > 32


def test_displaced_parts_are_of_the_image_itself():
    painted, masks = apply(only("displaced"), uniform())
    np.testing.assert_allclose(painted, uniform(), atol=1e-5)
    assert not masks.any()


def test_patches_are_of_the_image_itself_some_in_another_colour():
    _, masks = apply(only("patch"), uniform())
    recoloured = masks.any((1, 2)).mean()
    assert 0.2 < recoloured < 0.65


def test_textures_come_from_the_image_before_or_from_none():
    painted, masks = apply(only("texture"), uniform())
    assert masks.any((1, 2)).mean() > 0.7
    every_second = np.where(np.arange(64)[:, None, None, None] % 2, uniform(), noisy())
    changed = (apply(only("texture"), every_second)[0] != painted).any((1, 2, 3))
    # Of the images that stayed the same, those whose texture is another image.
    assert 0.2 < changed[1::2].mean() < 0.6


def test_a_batch_of_one_is_its_own_texture():
    painted, masks = apply(only("texture"), noisy()[:1])
    assert painted.shape == (1, SIZE, SIZE, 3)
    assert masks.shape == (1, SIZE, SIZE)


def test_displaced_parts_are_large_and_strokes_are_thin():
    displaced = apply(only("displaced"), noisy())[1]
    strokes = apply(only("stroke"), uniform())[1]
    assert np.median(displaced.mean((1, 2))) > 0.05
    assert displaced.mean() > 4 * strokes.mean() > 0
    # The longest distance from a stroke's pixel to its edge: half-widths of 0.02 sides, and a soft edge.
    depths = np.stack([ndimage.distance_transform_edt(np.pad(mask, 1)) for mask in strokes])  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert depths.max() <= 0.02 * SIZE + 2.5


def test_strokes_are_any_number_up_to_the_most():
    one, five = (
        apply(only("stroke", strokes=most, opacity=1.0, visible=0.0), BLANK)[1] for most in (1, 5)
    )
    # 3 on average, which seldom cross.
    assert 2.5 < five.mean() / one.mean() < 3.1


def test_the_middles_of_faults_keep_the_margin_from_the_border():
    masks = apply(only("patch", margin=0.4), BLANK)[1]
    masks = masks[masks.any((1, 2))]
    ticks = (np.arange(128) + 0.5) / 128
    # Rectangles of up to half a side, which no border cuts off there.
    for axis in (1, 2):
        middles = masks.sum(3 - axis) @ ticks / masks.sum((1, 2))
        np.testing.assert_allclose([middles.min(), middles.max()], [0.4, 0.6], atol=0.015)


def test_every_one_of_the_strokes_keeps_the_margin():
    ticks = (np.arange(128) + 0.5) / 128 - 0.5
    corners = np.hypot(ticks[:, None], ticks) > 0.6  # further than half of the longest stroke
    free, kept = (
        apply(only("stroke", strokes=16, margin=margin), BLANK)[1] for margin in (0.0, 0.49)
    )
    assert free[:, corners].any()
    assert not kept[:, corners].any()
    assert kept.any((1, 2)).mean() > 0.9


def test_opacity_is_the_least_part_that_hides_what_is_under_it():
    half, full, free = (
        apply(only("stroke", opacity=opacity), noisy())[0] - noisy() for opacity in (0.5, 1.0, 0.0)
    )
    # Between the least and 1 it is drawn at random: o + (1 - o) u.
    np.testing.assert_allclose(half, (full + free) / 2, atol=1e-6)
    assert 0.3 < np.abs(free).sum() / np.abs(full).sum() < 0.7


def test_moved_is_a_shift_of_the_mirrored_image(moved):
    images = noisy()[:2]
    zero = jnp.zeros(())
    found = moved(jnp.asarray(images), 1, False, zero, jnp.array([5, -3]) / SIZE)
    around = np.pad(images[1], ((8, 8), (8, 8), (0, 0)), mode="symmetric")
    np.testing.assert_allclose(found, around[8 + 3 :, 8 - 5 :][:SIZE, :SIZE], atol=1e-6)
    found = moved(jnp.asarray(images), 0, True, zero, jnp.zeros(2))
    np.testing.assert_allclose(found, images[0][:, ::-1], atol=1e-6)


@pytest.mark.parametrize(("angle", "mirrored"), [(0.4, False), (-2.0, True)])
def test_moved_is_scipy_s_rotation(moved, angle, mirrored):
    image = noisy()[0]
    found = moved(jnp.asarray(noisy()), 0, mirrored, jnp.asarray(angle), jnp.array([0.25, 0.125]))
    # Output (y, x) comes from input R(-angle) ((y, x) - centre - shift) + centre.
    cos, sin = np.cos(angle), np.sin(angle)
    inverse = np.array([[cos, -sin], [sin, cos]])
    offset = 15.5 - inverse @ (15.5 + np.array([4, 8]))
    start = image[:, ::-1] if mirrored else image
    for channel in range(3):
        expected = ndimage.affine_transform(
            start[..., channel].astype(np.float64),
            inverse,
            offset,  # pyright: ignore[reportArgumentType]
            order=1,
            mode="reflect",
        )
        np.testing.assert_allclose(found[..., channel], expected, atol=1e-4)


def test_noise_has_unit_variance_and_the_cells_it_was_asked_for():
    draws = np.random.default_rng(0)
    lattice = jnp.asarray(draws.uniform(size=lattice_size(32, 3)), jnp.float32)
    fine = np.asarray(noise(jnp.array([1.0, 0.5, 0.4, 0.3]), lattice, 32, 3, 64))
    assert abs(fine.mean()) < 0.05
    assert abs(fine.std() - 1) < 0.05
    # 16 cells down and 4.9 across: a step down changes more.
    down, across = (np.diff(fine, axis=axis).std() for axis in (1, 2))
    assert 1.5 < down / across < 4


def test_a_config_comes_back_from_a_mapping_and_is_checked():
    config = only("patch")
    assert from_mapping(FaultsConfig, asdict(config)) == config
    with pytest.raises(UserError, match=r"config.share: 1.5 is out of range"):
        from_mapping(FaultsConfig, asdict(config) | {"share": 1.5})
    with pytest.raises(UserError, match=r"config.strokes: 0 is out of range"):
        from_mapping(FaultsConfig, asdict(config) | {"strokes": 0})
    with pytest.raises(UserError, match=r"config.margin: 0.5 is out of range"):
        from_mapping(FaultsConfig, asdict(config) | {"margin": 0.5})
    with pytest.raises(UserError, match="are all 0; set share to 0"):
        from_mapping(FaultsConfig, asdict(config) | {"patch": 0.0})
