import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from classify_jax.synthetic import CLASSES, shapes
from classify_jax.synthetic import distances as module
from engine_jax.errors import UserError

distances = jax.jit(module.distances)


def inside(name: str) -> np.ndarray:
    """Which points of a grid of 401 x 401 over [-1.2, 1.2]^2 a shape covers, [y, x]."""
    line = jnp.linspace(-1.2, 1.2, 401)
    found = distances(jnp.broadcast_to(line[None], (401, 401)), line[:, None] + 0 * line)
    return np.asarray(found[CLASSES.index(name)] < 0)


@pytest.mark.parametrize(
    ("name", "area"),
    [
        ("circle", math.pi * 0.85**2),
        ("ring", math.pi * (0.92**2 - 0.52**2)),
        ("square", 1.5**2),
        ("cross", 2 * (2 * 0.64) - 0.64**2),
        ("triangle", 3 * math.sqrt(3) / 4),
        ("star", 5 * 0.42 * math.sin(math.pi / 5)),
        ("heart", 1.1**2 + math.pi * 0.55**2),
    ],
)
def test_shapes_have_the_areas_of_their_formulas(name, area):
    assert inside(name).mean() * 2.4**2 == pytest.approx(area, rel=0.02)


@pytest.mark.parametrize("name", CLASSES)
def test_every_shape_has_an_axis_of_symmetry_and_fits_its_radius(name):
    """A mirror image is of the same class, and no shape is cut off by the picture's edge."""
    found = inside(name)
    # But for rounding on the outline.
    assert min((found != found[::-1]).mean(), (found != found[:, ::-1]).mean()) < 1e-3
    line = np.linspace(-1.2, 1.2, 401)
    radius = np.hypot(line[None], line[:, None])
    assert radius[found].max() < 1.15


def test_no_two_shapes_look_alike():
    found = np.stack([inside(name) for name in CLASSES])
    for i, one in enumerate(found):
        for other in found[:i]:
            overlap = (one & other).sum() / (one | other).sum()
            assert overlap < 0.85


def test_a_picture_depends_on_the_seed_and_its_index_only():
    images, labels = shapes(5, 70, 16)
    again, of_them = shapes(5, 6, 16, start=62)  # over the border of two chunks
    assert (images[62:68] == again).all()
    assert (labels[62:68] == of_them).all()
    assert labels[:12].tolist() == [*range(10), 0, 1]
    assert (shapes(6, 1, 16)[0] != images[:1]).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((-1, 1, 16), "seed is -1"), ((0, 0, 16), "count is 0"), ((0, 1, 7), "size is 7")],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(UserError, match=message):
        shapes(*arguments)
