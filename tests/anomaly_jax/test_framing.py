"""Images of any shape, squeezed, letterboxed or cut into tiles."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomaly_jax.config import AnomalyConfig
from anomaly_jax.data.load import load_parts
from anomaly_jax.framing import Blend, Box, Framing, fit, framed_map
from anomaly_jax.predict import load
from anomaly_jax.train import train_and_evaluate
from engine_jax.config import from_mapping
from engine_jax.errors import UserError
from tests.anomaly_jax.mvtec_folder import save
from tests.anomaly_jax.settings import tiny_config

H, W = 48, 112  # of the images
FAULT = slice(30, 40), slice(80, 96)  # its rows and columns


def wide_image(i: int, faulty: bool = False) -> np.ndarray:
    """uint8 [H, W, 3]: dim noise on a slope, with a bright rectangle if it is faulty."""
    noise = np.random.default_rng(i).integers(0, 20, (H, W, 3))
    pixels = (noise + np.linspace(40, 90, W)[None, :, None]).astype(np.uint8)
    if faulty:
        pixels[FAULT] = 250
    return pixels


@pytest.fixture(scope="module")
def wide_set(tmp_path_factory) -> Path:
    """In MVTec AD's layout: six good images to train on, two good and two faulty ones to test on."""
    folder = tmp_path_factory.mktemp("wide")
    mask = np.zeros((H, W), np.uint8)
    mask[FAULT] = 255
    for part in ("train/good", "test/good", "test/spot", "ground_truth/spot"):
        (folder / part).mkdir(parents=True)
    for i in range(6):
        save(folder / f"train/good/{i}.png", wide_image(i))
    for i in range(2):
        save(folder / f"test/good/{i}.png", wide_image(10 + i))
        save(folder / f"test/spot/{i}.png", wide_image(20 + i, faulty=True))
        save(folder / f"ground_truth/spot/{i}_mask.png", mask)
    return folder


def config(folder: Path, fit: str, preset: str = "base", **changes) -> dict:
    data = {"data__dataset": "mvtec", "data__dir": str(folder), "data__fit": fit}
    return tiny_config(preset, **(data | changes))


def covered(boxes: list[Box], height: int, width: int) -> np.ndarray:
    """How many boxes hold each pixel."""
    count = np.zeros((height, width), int)
    for box in boxes:
        count[box.inside(height, width)] += 1
    return count


@pytest.mark.parametrize("size", [(100, 257), (32, 32), (31, 400), (33, 32), (7, 5)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.9])
def test_tiles_cover_every_pixel_and_overlap_as_told(size, overlap):
    framing = Framing(32, "tiles", overlap=overlap)
    boxes = framing.boxes(*size)
    assert {(box.height, box.width) for box in boxes} == {(32, 32)}
    assert covered(boxes, *size).min() >= 1
    tops, lefts = (sorted({box[axis] for box in boxes}) for axis in (0, 1))
    assert len(boxes) == len(tops) * len(lefts)
    for starts, length in ((tops, size[0]), (lefts, size[1])):
        assert len(starts) == 1 or (starts[0], starts[-1]) == (0, length - 32)
        # Rounding of evenly spaced starts may take one pixel.
        assert all(b - a <= 32 * (1 - overlap) + 1 for a, b in pairwise(starts))


def test_a_letterbox_shows_the_whole_image_undistorted():
    image = np.zeros((10, 40, 3), np.uint8)
    image[2:8, 16:24] = 200
    image[9] = 90
    framing = Framing(40, "letterbox")
    (box,) = framing.boxes(10, 40)
    assert box == Box(-15, 0, 40, 40)
    square = framing.square(Image.fromarray(image), box)
    np.testing.assert_array_equal(square[15:25], image)
    assert (square[25:] == 90).all()
    assert (square[:15] == 0).all()
    np.testing.assert_array_equal(
        framed_map(square[..., 0].astype(np.float32), box, 10, 40), image[..., 0]
    )
    mask = image[..., 0] == 200
    found = framing.mask_in(mask, box)
    assert found.shape == (40, 40)
    np.testing.assert_array_equal(found[15:25], mask)
    assert found.sum() == mask.sum()


def test_squeezed_images_are_scaled_as_a_whole():
    image = Image.fromarray(wide_image(0))
    framing = Framing(16)
    (box,) = framing.boxes(H, W)
    np.testing.assert_array_equal(framing.square(image, box), fit(image, 16))


def test_tiles_are_cut_from_their_places_and_blend_to_the_whole_map():
    """A map that is the image itself comes back as it was, at the edges and where tiles overlap."""
    image = wide_image(0, faulty=True)
    framing = Framing(32, "tiles", overlap=0.4)
    blend = Blend(H, W)
    for box in framing.boxes(H, W):
        square = framing.square(Image.fromarray(image), box)
        np.testing.assert_array_equal(square, image[box.inside(H, W)])
        blend.add(square[..., 0].astype(np.float32), box)
    np.testing.assert_allclose(blend.map(), image[..., 0], rtol=1e-5)


def test_where_tiles_overlap_the_nearer_one_counts_more():
    blend = Blend(8, 12)
    blend.add(np.zeros((8, 8), np.float32), Box(0, 0, 8, 8))
    blend.add(np.ones((8, 8), np.float32), Box(0, 4, 8, 8))
    # Weights of the tents where both are: 3.5 to 0.5 and 0.5 to 3.5 pixels from the edges.
    expected = [0, 0, 0, 0, 1 / 8, 3 / 8, 5 / 8, 7 / 8, 1, 1, 1, 1]
    np.testing.assert_allclose(blend.map(), np.broadcast_to(expected, (8, 12)), rtol=1e-6)


@pytest.mark.parametrize(
    ("preset", "fit"), [("base", "letterbox"), ("base", "tiles"), ("patchcore", "squeeze")]
)
def test_a_set_of_wide_images_trains_and_finds_a_fault_where_it_is(wide_set, tmp_path, fit, preset):
    changes: dict = (
        {"train__epochs": 60, "evaluation__every": 30}
        if preset == "base"
        else {
            "members": 2,
            "embedding__weights": "",
            "embedding__backbone": "lenet5",
            "embedding__blocks": ("convs.0", "convs.1"),
            "scoring__sigma": 1.0,
            "patchcore__coreset": 0.2,
        }
    )
    results = train_and_evaluate(
        config(wide_set, fit, preset, **changes), tmp_path, pictures=fit == "tiles"
    )
    assert results["splits"]["test"] == 4
    assert results["pixel_auroc"] > 0.9
    assert results["image_auroc"] == 1
    model = load(tmp_path)
    (found,) = model.predict([wide_set / "test/spot/0.png"])
    assert found.anomaly_map.shape == (H, W)
    row, column = np.unravel_index(found.anomaly_map.argmax(), (H, W))
    assert 26 <= row < 44
    assert 74 <= column < 102
    outside = found.anomaly_map.copy()
    outside[FAULT] = np.nan
    assert np.nanmean(outside) < 0.7 * found.anomaly_map[FAULT].mean()
    line = (tmp_path / "scores.csv").read_text().splitlines()[3].split(",")
    assert line[0] == "test/spot/0.png"
    assert found.pred_score == pytest.approx(float(line[2]), rel=1e-4)


def test_tiles_are_trained_on_at_the_images_own_scale(wide_set):
    settings = from_mapping(AnomalyConfig, config(wide_set, "tiles", data__validation=0.2))
    parts = load_parts(settings.data, 32, 0)
    squares, numbers = parts.train.squares()
    boxes = parts.train.framing.boxes(H, W)
    assert len(boxes) == 2 * 5
    assert squares.shape == (50, 32, 32, 3)
    assert parts.train.square_count == 50
    assert numbers.tolist() == np.repeat(range(5), 10).tolist()
    i = int(Path(parts.train.names[2]).stem)
    np.testing.assert_array_equal(squares[20 + 7], wide_image(i)[boxes[7].inside(H, W)])


def test_tiles_of_one_image_are_in_one_fold(wide_set, tmp_path):
    """Otherwise members would score images that they have seen a part of."""
    changes = {"members": 2, "thresholds__calibration": "cross_fit", "train__epochs": 1}
    results = train_and_evaluate(config(wide_set, "tiles", **changes), tmp_path, pictures=False)
    assert results["thresholds"]["promise"]["images"] == 6


def test_rendered_images_are_squares(tmp_path):
    with pytest.raises(
        UserError, match=r"config.data.fit: tiles with config.data.dataset='synthetic'"
    ):
        train_and_evaluate(tiny_config(data__fit="tiles"), tmp_path)


@pytest.mark.parametrize("white", [0, 4095])
def test_twelve_bits_in_files_of_sixteen(tmp_path, caplog, white):
    """Without a white level the whole set is all but black, of which there is a warning."""
    (tmp_path / "parts").mkdir()
    for i in range(6):
        grey = np.random.default_rng(i).integers(0, 4096, (20, 30)).astype(np.uint16)
        Image.fromarray(grey).save(tmp_path / f"parts/{i}.png")
    changes = {"data__white": white, "train__epochs": 1}
    train_and_evaluate(
        config(tmp_path / "parts", "squeeze", **changes), tmp_path / "run", pictures=False
    )
    warned = "the brightest pixel of 5 images is 16 of 255" in caplog.text
    assert warned == (white == 0)
    settings = from_mapping(AnomalyConfig, config(tmp_path / "parts", "squeeze", **changes))
    train = load_parts(settings.data, 32, 0).train
    grey = np.random.default_rng(int(Path(train.names[0]).stem)).integers(0, 4096, (20, 30))
    eight = np.rint(grey * 255 / (white or 65535)).astype(np.uint8)[..., None].repeat(3, 2)
    np.testing.assert_array_equal(train.images.images[0], fit(Image.fromarray(eight), 32))
    # Predicting a file reads it as training did.
    model = load(tmp_path / "run")
    of_file, of_array = model.predict([tmp_path / "parts" / train.names[0]]) + model.predict(eight)
    assert of_file.pred_score == of_array.pred_score
