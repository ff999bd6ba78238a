from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeppose_jax import augment, codec
from deeppose_jax.config import AugmentConfig
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.skeleton import LSP

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
    boxes = np.tile(np.array([31.5, 31.5, 60, 64], np.float32), (n, 1))
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
    inputs, targets, labelled = augment.augmented_samples(
        jax.random.key(1), batch, 80, replace(OFF, **change), LSP
    )
    joint = np.asarray(labelled).argmax(1)
    assert np.asarray(labelled).sum() == len(batch)
    found = np.asarray(targets)[np.arange(len(batch)), joint]
    np.testing.assert_allclose(blob_positions(inputs), found, atol=0.01)
    if change:
        unchanged = np.asarray(codec.encode(batch.joints, batch.boxes))[:, 3]
        assert np.abs(found - unchanged).max() > 0.02


def test_a_flip_swaps_left_and_right():
    batch = dots(64)
    _, _, labelled = augment.augmented_samples(
        jax.random.key(0), batch, 32, replace(OFF, flip=True), LSP
    )
    joint = np.asarray(labelled).argmax(1)
    assert set(joint) == {2, 3}  # left hip, or right hip where mirrored
    assert 16 < (joint == 2).sum() < 48


def test_without_augmentation_training_and_evaluation_see_the_same():
    batch = dots()
    inputs, targets, _ = augment.augmented_samples(jax.random.key(0), batch, 48, OFF, LSP)
    np.testing.assert_allclose(
        inputs, augment.plain_inputs(batch.canvases, batch.boxes, 48), atol=1e-5
    )
    np.testing.assert_allclose(targets, codec.encode(batch.joints, batch.boxes), atol=1e-6)


def test_pixel_noise_has_the_asked_strength_and_leaves_joints_alone():
    batch = replace(dots(64), canvases=np.full((64, SIZE, SIZE, 3), 128, np.uint8))
    batch = replace(batch, boxes=np.tile(np.array([31.5, 31.5, 32, 32], np.float32), (64, 1)))
    changed = replace(OFF, noise=0.1, brightness=0.2, contrast=0.5)
    inputs, targets, _ = augment.augmented_samples(jax.random.key(0), batch, 32, changed, LSP)
    np.testing.assert_allclose(targets, codec.encode(batch.joints, batch.boxes), atol=1e-6)
    pixels = np.asarray(inputs) * np.array([0.229, 0.224, 0.225]) + np.array([0.485, 0.456, 0.406])
    deviations, means = pixels.std((1, 2, 3)), pixels.mean((1, 2, 3))
    assert 0.08 < deviations.max() <= 0.105
    assert deviations.min() < 0.03
    assert 0.15 < np.abs(means - 128 / 255).max() <= 0.205


def test_blur_spreads_a_point_as_a_gaussian():
    images = jnp.zeros((1, 31, 31, 3)).at[:, 15, 15].set(1.0)
    blurred = augment._blur(images, jnp.array([1.5]), 2.0)[0, ..., 0]
    ticks = np.arange(31) - 15
    assert float(blurred.sum()) == pytest.approx(1.0, abs=1e-3)
    assert float((np.asarray(blurred).sum(0) * ticks**2).sum()) == pytest.approx(1.5**2, rel=0.03)
