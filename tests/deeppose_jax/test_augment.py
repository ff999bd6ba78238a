from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeppose_jax import affine, augment, codec
from deeppose_jax.config import AugmentConfig
from deeppose_jax.crops import crop_boxes
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.displacements import Displacements, fit_normals
from deeppose_jax.refiner_boxes import refiner_boxes, to_frame
from deeppose_jax.skeleton import LSP
from deeppose_jax.synthetic import figures
from engine_jax.blur import gaussian_blur
from engine_jax.warp import warp

OFF = AugmentConfig(
    rotation=0.0,
    scale=0.0,
    translation=0.0,
    flip=False,
    brightness=0.0,
    contrast=0.0,
    noise=0.0,
    blur=0.0,
)
SIZE = 64

augmented_samples = jax.jit(augment.augmented_samples, static_argnums=(2, 3, 4, 5))
refiner_samples = jax.jit(
    augment.refiner_samples,
    static_argnums=(2, 3, 4),
    static_argnames=("skeleton", "sigma", "joints_per_image"),
)
random_maps = jax.jit(augment.random_maps, static_argnums=2)
moved_crops = jax.jit(augment.moved_crops, static_argnums=4, static_argnames="border")


def dots(n=16, seed=0):
    """Black canvases with one white blob each, joint 3 on it and all others unlabelled."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(24, 40, (n, 2)).astype(np.float32)
    ticks = np.arange(SIZE)
    distance = (ticks[None, None] - centres[:, 0, None, None]) ** 2 + (
        ticks[None, :, None] - centres[:, 1, None, None]
    ) ** 2
    canvases = (255 * np.exp(-distance / 8))[..., None].repeat(3, -1).astype(np.uint8)
    joints = np.zeros((n, 14, 2), np.float32)
    joints[:, 3] = centres
    labelled = np.zeros((n, 14), bool)
    labelled[:, 3] = True
    boxes = np.tile(np.array([1.5, -0.5, 61.5, 63.5], np.float32), (n, 1))
    return PoseSet(
        canvases, joints, labelled, boxes, np.tile(np.eye(2, 3, dtype=np.float32), (n, 1, 1))
    )


def blob_positions(inputs):
    """Centres of mass of normalised inputs, in the boxes' frames."""
    images = np.asarray(inputs)[..., 0] * 0.229 + 0.485
    weight = np.clip(images, 0, None)
    ticks = (np.arange(images.shape[1]) + 0.5) / images.shape[1] - 0.5
    x = (weight.sum(1) * ticks).sum(1) / weight.sum((1, 2))
    y = (weight.sum(2) * ticks).sum(1) / weight.sum((1, 2))
    return np.stack([x, y], -1)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"rotation": 60.0},
        {"scale": 0.5},
        {"translation": 0.1},
        {"flip": True},
        {"rotation": 30.0, "scale": 0.3, "translation": 0.1, "flip": True, "blur": 1.0},
    ],
)
def test_joints_move_with_the_image(change):
    batch = dots()
    inputs, targets, labelled = augmented_samples(
        jax.random.key(1), batch, 80, replace(OFF, **change), LSP, "black"
    )
    joint = np.asarray(labelled).argmax(1)
    assert np.asarray(labelled).sum() == len(batch)
    found = np.asarray(targets)[np.arange(len(batch)), joint]
    np.testing.assert_allclose(blob_positions(inputs), found, atol=0.01)
    if change:
        unchanged = np.asarray(codec.encode(batch.joints, batch.boxes))[:, 3]
        assert np.abs(found - unchanged).max() > 0.02


@pytest.mark.parametrize("seed", [0, 1])
def test_moved_crops_are_the_warp_of_the_same_maps(seed):
    """Of noise, which shows any difference in place; the boxes span at most twice the crops' pixels."""
    n, size = 8, 48
    rng = np.random.default_rng(seed)
    canvases = rng.integers(0, 256, (n, SIZE, SIZE, 3), dtype=np.uint8)
    batch = replace(dots(n, seed), canvases=canvases)
    changes = replace(OFF, scale=0.4, translation=0.3, flip=True)
    maps, flipped = random_maps(jax.random.key(seed), batch.boxes, changes)
    assert 0 < flipped.sum() < n
    crops = moved_crops(canvases, batch.boxes[:, None], maps, flipped, size, border="black")[:, 0]
    to_input = affine.compose(affine.box_to_pixels(batch.boxes, size), maps)
    warped = warp(canvases / np.float32(255), affine.invert(to_input), size, diagonal=3.0)
    np.testing.assert_allclose(crops, warped, atol=1e-4)


def test_rotated_crops_are_the_warp_of_the_same_maps():
    n, size = 8, 48
    canvases = np.random.default_rng(2).integers(0, 256, (n, SIZE, SIZE, 3), dtype=np.uint8)
    batch = replace(dots(n), canvases=canvases)
    changes = replace(OFF, rotation=40.0, scale=0.4, translation=0.3, flip=True)
    maps, flipped = random_maps(jax.random.key(5), batch.boxes, changes)
    assert 0 < flipped.sum() < n
    boxes = batch.boxes[:, None]
    crops = jax.jit(augment._rotated_crops, static_argnums=(4, 5))(
        canvases, boxes, maps, flipped, size, "black"
    )[:, 0]
    to_input = affine.compose(affine.box_to_pixels(batch.boxes, size), maps)
    warped = warp(canvases / np.float32(255), affine.invert(to_input), size, diagonal=3.0)
    np.testing.assert_allclose(crops, warped, atol=1e-4)


@pytest.mark.parametrize("sample", ["stage 1", "refiner"])
def test_samples_are_the_same_with_a_rotation_of_so_little_that_it_moves_nothing(sample):
    canvases = np.random.default_rng(2).integers(0, 256, (8, SIZE, SIZE, 3), np.uint8)
    batch = replace(dots(8), canvases=canvases)
    changes = replace(OFF, scale=0.4, translation=0.3, flip=True)
    normals = fit_normals(
        batch.joints + np.float32(2), batch.joints, np.asarray(batch.labelled), LSP, 6.0
    )

    def samples(changes):
        if sample == "stage 1":
            return augmented_samples(jax.random.key(5), batch, 48, changes, LSP)
        return refiner_samples(
            jax.random.key(5), batch, 24, changes, LSP, normals, sigma=1.0, joints_per_image=2
        )

    for ours, theirs in zip(
        samples(changes), samples(replace(changes, rotation=1e-6)), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=5e-4)


def gradient_energy(images):
    """Mean square of the differences between neighbours."""
    across, down = np.diff(images, axis=-2), np.diff(images, axis=-3)
    return (np.square(across).mean() + np.square(down).mean()) / 2


def test_refiners_see_crops_as_sharp_in_training_as_in_prediction():
    """Resampled once: cropped from a rotated canvas they would have lost a sixth of their gradients' energy."""
    batch = figures(seed=1, count=24, size=SIZE)
    none = Displacements(*(np.zeros(shape, np.float32) for shape in ((14, 2), (14, 2, 2), (), ())))
    common = {"sigma": 1.0, "skeleton": LSP, "displacements": none}
    crops = {
        rotation: np.asarray(
            refiner_samples(
                jax.random.key(3), batch, 48, replace(OFF, rotation=rotation), **common
            ).inputs
        )
        for rotation in (0.0, 20.0)
    }
    assert gradient_energy(crops[20.0]) == pytest.approx(gradient_energy(crops[0.0]), rel=0.05)


def test_refiners_crops_show_the_canvas_moved_as_the_joints():
    """Values of a ramp are coordinates: those of each crop's middle are of the joint before it was moved."""
    n = 6
    ramp = np.stack([*np.meshgrid(np.arange(SIZE), np.arange(SIZE)), np.zeros((SIZE, SIZE))], -1)
    canvases = np.tile(ramp.astype(np.float32), (n, 1, 1, 1))
    batch = dots(n)
    maps, flipped = random_maps(
        jax.random.key(0), batch.boxes, replace(OFF, scale=0.3, translation=0.2, flip=True)
    )
    moved = affine.apply(maps, batch.joints[:, 3:4])  # [n, 1, 2]
    regions = refiner_boxes(moved, jnp.full((n, 1), 5.0), 2.0)
    crops = moved_crops(canvases, regions, maps, flipped, 9)
    np.testing.assert_allclose(crops[:, 0, 4, 4, :2], batch.joints[:, 3], atol=1e-4)
    # From left to right x grows, or falls in mirrored images.
    across = np.asarray(crops[:, 0, 4, 8, 0] - crops[:, 0, 4, 0, 0])
    np.testing.assert_array_equal(np.sign(across), np.where(flipped, -1, 1))
    np.testing.assert_allclose(to_frame(moved, regions), 0, atol=1e-5)


def test_coordinates_are_computed_without_matrix_products():
    """A TPU rounds their operands to bfloat16."""
    batch, changes = dots(2), replace(OFF, rotation=10.0, scale=0.4, translation=0.3, flip=True)

    def moved(key):
        maps, flipped = random_maps(key, batch.boxes, changes)
        return maps, augment.move_joints(batch, maps, flipped, LSP).joints

    program = str(jax.make_jaxpr(moved)(jax.random.key(0)))
    assert "cos" in program
    assert "dot_general" not in program


def test_a_flip_swaps_left_and_right():
    batch = dots(64)
    _, _, labelled = augmented_samples(jax.random.key(0), batch, 32, replace(OFF, flip=True), LSP)
    joint = np.asarray(labelled).argmax(1)
    assert set(joint) == {2, 3}  # left hip, or right hip where mirrored
    assert 16 < (joint == 2).sum() < 48


def test_without_augmentation_training_and_evaluation_see_the_same():
    batch = dots()
    inputs, targets, _ = augmented_samples(jax.random.key(0), batch, 48, OFF, LSP)
    crops = crop_boxes(batch.canvases, batch.boxes[:, None], 48)[:, 0]
    np.testing.assert_allclose(inputs, augment.normalise(crops), atol=1e-5)
    np.testing.assert_allclose(targets, codec.encode(batch.joints, batch.boxes), atol=1e-6)


def test_pixel_changes_have_the_configured_strength_and_leave_joints_alone():
    batch = replace(dots(64), canvases=np.full((64, SIZE, SIZE, 3), 128, np.uint8))
    batch = replace(batch, boxes=np.tile(np.array([15.5, 15.5, 47.5, 47.5], np.float32), (64, 1)))
    changed = replace(OFF, noise=0.1, brightness=0.2, contrast=0.5)
    inputs, targets, _ = augmented_samples(jax.random.key(0), batch, 32, changed, LSP)
    np.testing.assert_allclose(targets, codec.encode(batch.joints, batch.boxes), atol=1e-6)
    pixels = np.asarray(inputs) * np.array([0.229, 0.224, 0.225]) + np.array([0.485, 0.456, 0.406])
    deviations, means = pixels.std((1, 2, 3)), pixels.mean((1, 2, 3))
    assert 0.08 < deviations.max() <= 0.105
    assert deviations.min() < 0.03
    assert 0.15 < np.abs(means - 128 / 255).max() <= 0.205


def test_blur_spreads_a_point_as_a_gaussian():
    images = jnp.zeros((1, 31, 31, 3)).at[:, 15, 15].set(1.0)
    blurred = gaussian_blur(images, jnp.array([1.5]), 2.0)[0, ..., 0]
    ticks = np.arange(31) - 15
    assert float(blurred.sum()) == pytest.approx(1.0, abs=1e-3)
    assert float((np.asarray(blurred).sum(0) * ticks**2).sum()) == pytest.approx(1.5**2, rel=0.03)
