"""Shapes of features, and images that are refused."""

import jax.numpy as jnp
import pytest

from convnets_jax.features import Window, check_images, feature_shape
from engine_jax.errors import UserError


def test_feature_shape_is_the_formula_of_each_window():
    windows = [Window(7, 2, 3), Window(3, 2), Window(5)]
    # (30 - 7 + 6) // 2 + 1 = 15, (15 - 3) // 2 + 1 = 7, 7 - 5 + 1 = 3; of 40: 20, 9, 5
    assert feature_shape((30, 40), windows, 8, "network") == (3, 5, 8)
    # Five cells come of 11 and these of 21 - 6 + 7 - 1 pixels.
    assert feature_shape(21, windows, 8, "network") == (1, 1, 8)
    with pytest.raises(UserError, match=r"^an image side of 20 px .* this network: .* 21 px$"):
        feature_shape((30, 20), windows, 8, "network")


def test_check_images():
    check_images(jnp.zeros((1, 2, 2, 1)), "network", 1)
    with pytest.raises(
        UserError, match=r"^network takes images \[b, h, w, 1\], .* \(1, 2, 2, 3\)$"
    ):
        check_images(jnp.zeros((1, 2, 2, 3)), "network", 1)
