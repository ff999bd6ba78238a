"""Synthetic nuts: determinism, and masks that are the pixels which the defect changed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anomaly_jax.synthetic import DEFECTS, nuts, picture
from engine_jax.errors import UserError

SIZE = 64


@pytest.fixture(scope="module")
def good():
    return nuts(seed=3, count=96, size=SIZE)


@pytest.fixture(scope="module")
def faulty():
    return {defect: nuts(seed=3, count=96, size=SIZE, defect=defect) for defect in DEFECTS}


@pytest.fixture(scope="module")
def outlines():
    """Where the nuts of the other fixtures are, by the part of each pixel that they cover."""

    @jax.jit
    @jax.vmap
    def cover(index):
        key = jax.random.split(jax.random.fold_in(jax.random.key(3), index))[0]
        parts, _ = picture._numbers(key)
        return picture.nut.surface(picture.nut.shape_of(parts[0]), SIZE).cover

    return np.asarray(cover(jnp.arange(96)))


def test_good_nuts_have_empty_masks(good):
    images, masks = good
    assert images.shape == (96, SIZE, SIZE, 3)
    assert images.dtype == np.uint8
    assert masks.shape == (96, SIZE, SIZE)
    assert masks.dtype == np.bool_
    assert not masks.any()


@pytest.mark.parametrize("defect", [None, "crack"])
def test_a_nut_depends_on_seed_and_index_only(good, faulty, defect):
    images, masks = faulty[defect] if defect else good
    some_images, some_masks = nuts(seed=3, count=21, size=SIZE, defect=defect, start=13)
    np.testing.assert_array_equal(images[13:34], some_images)
    np.testing.assert_array_equal(masks[13:34], some_masks)
    other, _ = nuts(seed=4, count=2, size=SIZE, defect=defect)
    assert not np.array_equal(other, images[:2])
    assert len(np.unique(images.reshape(96, -1), axis=0)) == 96


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_mask_is_where_the_defect_changed_the_picture(good, faulty, defect):
    images, masks = faulty[defect]
    # The noise of a nut is the same with its defect and without, so that it cancels but for rounding and clipping.
    change = np.abs(images.astype(int) - good[0]).max(-1)
    threshold = 255 * picture.VISIBLE
    unclipped = ((images > 0) & (images < 255) & (good[0] > 0) & (good[0] < 255)).all(-1)
    assert unclipped[masks].mean() > 0.8
    assert (change[masks & unclipped] >= threshold - 1).all()
    assert (change[~masks] <= threshold + 1).all()


@pytest.mark.parametrize("defect", DEFECTS)
def test_defects_are_on_the_nut_and_of_their_size(faulty, outlines, defect):
    _, masks = faulty[defect]
    assert not masks[outlines == 0].any()
    areas = masks.mean((1, 2))
    assert areas.min() > 0.0015
    assert areas.max() < 0.08
    assert 0.004 < np.median(areas) < 0.03
    assert len(np.unique(masks.reshape(96, -1), axis=0)) == 96


def test_defects_differ_in_colour(good, faulty):
    def change(defect):
        images, masks = faulty[defect]
        lighter = (images.astype(int) - good[0])[masks]
        return lighter.mean()

    assert change("crack") < -20
    assert change("hole") < -20
    assert change("cut") > 10
    colours = [image[mask].mean(0) for image, mask in zip(*faulty["print"], strict=True)]
    assert np.std(colours, axis=0).min() > 20


def test_holes_are_round_and_cracks_are_not(faulty):
    def roundness(defect):
        """The lesser spread of the mask's pixels over the greater, the median of all pictures."""
        ratios = []
        for mask in faulty[defect][1]:
            spread = np.linalg.eigvalsh(np.cov(np.argwhere(mask).T) + np.eye(2) / 12)
            ratios.append(np.sqrt(spread[0] / spread[1]))
        return np.median(ratios)

    assert roundness("hole") > 0.75
    assert roundness("crack") < 0.6
    assert roundness("cut") < 0.5


def test_good_nuts_vary_about_a_common_picture(good, outlines):
    images = good[0] / 255
    share = outlines.mean((1, 2))
    assert 0.25 < share.min() < share.max() < 0.5
    # Nuts are lighter than the cloth, and all of the picture's corners are cloth.
    corners = images[:, [0, 0, -1, -1], [0, -1, 0, -1]].mean((1, 2))
    middle = images[:, 24:40, 24:40].mean((1, 2, 3))
    assert corners.max() < 0.35
    assert (middle > corners).mean() > 0.95
    # The mean picture explains some of the others, not most of it.
    mean = images[:48].mean(0)
    left = ((images[48:] - mean) ** 2).mean()
    assert 0.1 < left / ((images[48:] - images[48:].mean((0, 1, 2))) ** 2).mean() < 0.6
    # Nuts are turned any way: the mean of all looks much the same after a quarter turn.
    whole = images.mean(0)
    assert np.abs(whole - np.rot90(whole)).mean() < 0.018
    # None is overexposed.
    assert (images == 1).any(-1).mean((1, 2)).max() < 0.02


@pytest.mark.parametrize("defect", [None, "hole"])
def test_sizes_show_the_same_nuts(good, faulty, defect):
    images, masks = faulty[defect] if defect else good
    for size in (128, 192):
        fine_images, fine_masks = nuts(seed=3, count=8, size=size, defect=defect)
        blocks = (8, SIZE, size // SIZE, SIZE, size // SIZE)
        shrunk = fine_images.reshape(*blocks, 3).mean((2, 4))
        # Streaks and speckles finer than a pixel stay different.
        assert np.abs(shrunk - images[:8]).mean() < 6
        apart = np.abs(shrunk[::-1] - images[:8]).mean()
        assert apart > 3 * np.abs(shrunk - images[:8]).mean()
        fine_area, area = fine_masks.mean((1, 2)), masks[:8].mean((1, 2))
        np.testing.assert_allclose(fine_area, area, rtol=0.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", -1), ("count", 0), ("size", 4), ("start", -16), ("defect", "worm")],
)
def test_bad_arguments_are_named(name, value):
    arguments = {"seed": 0, "count": 1, "size": SIZE} | {name: value}
    with pytest.raises(UserError, match=rf"{name} is '?{value}'?, must be"):
        nuts(**arguments)
