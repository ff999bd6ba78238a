"""The model that comes with the package."""

from pathlib import Path

import numpy as np

import deeppose_jax
from deeppose_jax.pose_model import PRETRAINED
from tests.soak import card


def test_it_is_small_and_predicts_in_the_images_pixels():
    assert PRETRAINED.stat().st_size < 16 * 2**20
    model = deeppose_jax.load()
    # The joints of a whole grey picture are somewhere in it.
    (pose,) = model.predict([np.full((90, 60, 3), 128, np.uint8)])
    assert pose.joints.shape == (14, 2)
    assert (pose.joints > -20).all()
    assert (pose.joints < 110).all()
    assert model.settings.data.dir == model.settings.data.extended_dir == ""


def test_its_scores_are_those_of_its_card(real_data: Path):
    """On fifty images; `python -m tests.soak card` scores all thousand."""
    assert card.run("all, on 1001-1050", "1001:1050", real_data) == []
