"""Maps and scores of whole images."""

import gc

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from anomaly_jax.framing import Framing
from anomaly_jax.predictor import Detections
from anomaly_jax.scoring import ScoringConfig, image_score, map_score
from anomaly_jax.whole_images import (
    PartDetections,
    StoredMaps,
    framed_images,
    in_order,
    tiled_image,
)


def brightness(squares: np.ndarray) -> Detections:
    """The first channel is the map, the mean of the second the detector's own score."""
    maps = squares[..., 0].astype(np.float32)
    return Detections(maps, 2 * maps, squares[..., 1].mean((1, 2)).astype(np.float32), None)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_a_tiled_image_is_the_same_in_batches_of_any_size(batch_size):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8))
    framing = Framing(16, "tiles")
    found = tiled_image(brightness, image, framing, ScoringConfig(image="max"), False, batch_size)
    values = np.asarray(image)[..., 0].astype(np.float32)
    np.testing.assert_allclose(found.map, values, rtol=1e-5)
    assert found.spread is not None
    np.testing.assert_allclose(found.spread, 2 * values, rtol=1e-5)
    assert found.score == pytest.approx(255, rel=1e-5)
    own = tiled_image(brightness, image, framing, ScoringConfig(), True, batch_size)
    tiles = [framing.square(image, box) for box in framing.boxes(30, 50)]
    assert own.score == pytest.approx(max(tile[..., 1].mean() for tile in tiles))


def test_what_lies_beside_a_letterboxed_image_does_not_count():
    """Its edges are drawn out, but the mean is of the image's own pixels."""
    pixels = np.zeros((4, 16, 3), np.uint8)
    pixels[0] = 200
    (found,) = framed_images(
        brightness,
        [Image.fromarray(pixels)],
        Framing(16, "letterbox"),
        ScoringConfig(image="mean"),
        own_scores=False,
    )
    np.testing.assert_array_equal(found.map, pixels[..., 0])
    assert found.score == 50


@pytest.mark.parametrize("kind", ["max", "mean", "top"])
def test_the_host_scores_maps_as_devices_do(kind):
    maps = np.random.default_rng(0).random((3, 12, 17)).astype(np.float32)
    expected = image_score(jnp.asarray(maps), kind, part=0.05)
    found = [map_score(each, kind, part=0.05) for each in maps]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_stored_maps_come_back_and_leave_nothing_behind():
    maps, stored = [np.full((2, 3), i, np.float32) for i in range(3)], StoredMaps()
    for each in maps:
        stored.append(each)
    assert len(stored) == 3
    for i, each in enumerate(maps):
        np.testing.assert_array_equal(stored[i], each)
    folder = stored._folder
    assert folder.exists()
    del stored
    gc.collect()
    assert not folder.exists()


def test_what_was_found_fold_by_fold_is_put_in_order():
    folds = np.array([1, 0, 2, 0, 1])
    values = np.arange(5, dtype=np.float32)
    found = []
    for fold in range(3):
        inside = values[folds == fold]
        maps = np.broadcast_to(inside[:, None, None], (len(inside), 2, 2))
        found.append(PartDetections(Detections(maps, None, inside, None), list(maps + 10)))
    joined = in_order(found, folds)
    np.testing.assert_array_equal(joined.found.scores, values)
    np.testing.assert_array_equal(joined.found.maps[:, 0, 1], values)
    assert [joined.maps[i][1, 1] for i in range(5)] == (values + 10).tolist()
    assert len(joined.maps) == 5
