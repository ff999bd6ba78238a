"""What `predict` of every task takes."""

import numpy as np
import pytest
from PIL import Image

from engine_jax.errors import UserError
from engine_jax.prediction import rgb_arrays

PIXELS = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)


def test_arrays_images_and_paths_are_the_same(tmp_path):
    image = Image.fromarray(PIXELS)
    image.save(tmp_path / "a.png")
    path = tmp_path / "a.png"
    for one in (PIXELS, image, path, str(path)):
        for images in (one, [one]):
            (found,) = rgb_arrays(images)
            np.testing.assert_array_equal(found, PIXELS)
    assert len(rgb_arrays([PIXELS, path, image])) == 3


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (PIXELS[..., 0], r"images\[1\]: uint8 \(2, 3\); accepted: uint8 \[h, w, 3\]"),
        (PIXELS[..., :2], r"images\[1\]: uint8 \(2, 3, 2\)"),
        (PIXELS / 255, r"images\[1\]: float64"),
        (PIXELS[:0], r"images\[1\]: uint8 \(0, 3, 3\)"),
        (Image.fromarray(np.full((2, 2), -1, np.int32)), r"images\[1\]: grey values -1 to -1"),
        ("nowhere.png", r"nowhere\.png: can't be read \("),
    ],
)
def test_what_is_no_rgb_image_is_named(image, message):
    with pytest.raises(UserError, match=message):
        rgb_arrays([PIXELS, image])
