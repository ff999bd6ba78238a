import argparse
import json
import os

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


def test_photos_are_turned_as_a_viewer_shows_them(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    path = tmp_path / "a.png"
    Image.fromarray(np.ascontiguousarray(np.rot90(PIXELS))).save(path, exif=exif)
    with Image.open(path) as image:
        for array in rgb_arrays([path, image]):
            np.testing.assert_array_equal(array, PIXELS)


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
    given = {"workdir": "run", "out": str(tmp_path / "out")}
    given |= {"skip_unreadable": False, "recursive": False}
    return argparse.Namespace(images=[str(path) for path in images], **(given | changes))


def predict(model, files, images):
    assert len(files) == len(images)
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


def test_what_was_done_before_a_disk_is_full_stays(files, tmp_path):
    def until_full(model, image, found, stem):
        if len(list((tmp_path / "out").glob("*.png"))) == 2:
            raise UserError("the disk is full")
        return write(model, image, found, stem)

    given = arguments(tmp_path, files)
    with pytest.raises(UserError, match="the disk is full"):
        predict_files(given, lambda workdir: [], predict, until_full, lambda _: {})
    written = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [entry["file"] for entry in written["predictions"]] == [str(path) for path in files[:2]]


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
    with pytest.raises(UserError, match=r"2\.png: can't be read as an image.*--skip-unreadable"):
        predict_files(arguments(tmp_path, files), lambda workdir: [], predict, write)
    skipped = arguments(tmp_path, files, skip_unreadable=True)
    entries = predict_files(skipped, lambda workdir: [], predict, write)
    assert [entry["file"] for entry in entries] == [str(f) for f in files if f != files[2]]
    assert "left out: " in capsys.readouterr().err


def test_what_is_no_file_is_left_out_and_the_others_are_done(files, tmp_path, capsys):
    inside = tmp_path / "images"
    inside.mkdir()
    files[0].rename(inside / "10.png")
    (inside / "1.png").symlink_to("nowhere")
    (inside / "2.png").symlink_to("2.png")
    (inside / "3.png").mkdir()
    os.mkfifo(inside / "4.png")
    (inside / "5.png").symlink_to("/dev/zero")
    for left_behind in ("._a.png", "Thumbs.db"):
        (inside / left_behind).write_bytes(b"")
    skipped = arguments(tmp_path, [inside], skip_unreadable=True)
    (entry,) = predict_files(skipped, lambda workdir: [], predict, write)
    assert entry["file"] == str(inside / "10.png")
    lines = [line for line in capsys.readouterr().err.splitlines() if "left out: " in line]
    reasons = ("a broken link, to nowhere", "2.png", "a folder", "neither a file", "neither a file")
    assert len(lines) == len(reasons)
    assert all(reason in line for reason, line in zip(reasons, lines, strict=True))
    with pytest.raises(UserError, match=r"1\.png: can't be read \(a broken link, to nowhere\)"):
        predict_files(arguments(tmp_path, [inside / "1.png"]), lambda workdir: [], predict, write)


def test_long_names_and_names_that_are_not_utf_8_are_shortened(tmp_path):
    names = [b"\xff\xfe.png", ("ä" * 124).encode() + b".png"]
    for name in names:
        Image.fromarray(PIXELS).save(os.path.join(os.fsencode(tmp_path), name), format="PNG")
    predict_files(arguments(tmp_path, [tmp_path]), lambda workdir: [], predict, write)
    written = sorted(os.listdir(tmp_path / "out"))
    assert written == ["00001_" + "ä" * 100 + ".png", "00002_.png", "predictions.json"]


def test_what_was_predicted_before_an_error_is_kept(files, tmp_path, monkeypatch):
    monkeypatch.setattr(prediction, "_BATCH", 2)
    files[3].write_bytes(b"no image")
    with pytest.raises(UserError, match=r"3\.png"):
        predict_files(arguments(tmp_path, files), lambda workdir: [], predict, write)
    written = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [entry["file"] for entry in written["predictions"]] == list(map(str, files[:2]))


def test_an_output_that_is_no_folder_is_named_before_a_model_is_loaded(files, tmp_path):
    for out, why in ((files[0], "is not a folder"), (files[0] / "below", "Not a directory")):
        given = arguments(tmp_path, files[1:], out=str(out))
        with pytest.raises(UserError, match=f"{out}.*{why}"):
            predict_files(given, lambda workdir: pytest.fail("loaded"), predict, write)
