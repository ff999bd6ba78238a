import argparse
import json

import numpy as np
import pytest
from PIL import Image

from engine_jax import prediction
from engine_jax.errors import UserError
from engine_jax.prediction import predict_files, rgb_arrays

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


def test_arrays_pil_images_and_paths_are_the_same_image(tmp_path):
    image = Image.fromarray(PIXELS)
    image.save(tmp_path / "a.png")
    path = tmp_path / "a.png"
    for images in ([PIXELS, image, path, str(path)], (PIXELS, image), np.stack([PIXELS] * 2)):
        for array in rgb_arrays(images):
            np.testing.assert_array_equal(array, PIXELS)
    for single in (PIXELS, image, path, str(path)):
        (array,) = rgb_arrays(single)
        np.testing.assert_array_equal(array, PIXELS)
    assert rgb_arrays([]) == []


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (PIXELS / 255, r"images\[1\]: float64 \(6, 8, 3\); accepted: uint8 \[h, w, 3\]"),
        (PIXELS[..., 0], r"images\[1\]: uint8 \(6, 8\)"),
        (PIXELS[:0], r"images\[1\]: uint8 \(0, 8, 3\)"),
        ("/nowhere.png", "/nowhere.png: can't be read"),
        (Image.fromarray(np.full((2, 2), np.nan, np.float32)), r"images\[1\]: .* not finite"),
    ],
)
def test_what_is_no_image_is_named(image, message):
    with pytest.raises(UserError, match=message):
        rgb_arrays([PIXELS, image])


def arguments(tmp_path, images, **changes):
    given = {"workdir": "run", "out": str(tmp_path / "out"), "skip_unreadable": False}
    return argparse.Namespace(images=[str(path) for path in images], **(given | changes))


def predict(model, images):
    model.append(len(images))
    return [image.mean() for image in images]


def write(model, image, found, stem):
    Image.fromarray(image).save(f"{stem}.png")
    return {"mean": found}


@pytest.fixture
def files(tmp_path):
    for i in range(5):
        Image.fromarray(PIXELS + i).save(tmp_path / f"{i}.png")
    return [tmp_path / f"{i}.png" for i in range(5)]


def test_files_are_predicted_in_batches_and_written_in_order(files, tmp_path, monkeypatch):
    monkeypatch.setattr(prediction, "_BATCH", 2)
    model = []
    entries = predict_files(
        arguments(tmp_path, files), lambda workdir: model, predict, write, lambda _: {"names": [1]}
    )
    assert model == [2, 2, 1]
    written = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert written == {"names": [1], "predictions": entries}
    assert [entry["file"] for entry in entries] == [str(path) for path in files]
    for i, entry in enumerate(entries):
        assert entry["mean"] == pytest.approx((PIXELS + i).mean())
        assert (tmp_path / "out" / f"{i + 1:05d}_{i}.png").exists()


def test_a_few_large_images_make_a_batch(files, tmp_path, monkeypatch):
    monkeypatch.setattr(prediction, "_PIXELS", 2 * 6 * 8)
    model = []
    predict_files(arguments(tmp_path, files), lambda workdir: model, predict, write)
    assert model == [2, 2, 1]


def test_an_unreadable_file_stops_or_is_left_out(files, tmp_path, capsys):
    files[2].write_bytes(b"no image")
    with pytest.raises(UserError, match=r"2\.png: can't be read as an image"):
        predict_files(arguments(tmp_path, files), lambda workdir: [], predict, write)
    skipped = arguments(tmp_path, files, skip_unreadable=True)
    entries = predict_files(skipped, lambda workdir: [], predict, write)
    assert [entry["file"] for entry in entries] == [str(f) for f in files if f != files[2]]
    assert "left out: " in capsys.readouterr().err
