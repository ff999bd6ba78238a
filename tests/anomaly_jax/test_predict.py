import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from anomaly_jax import predict
from anomaly_jax.data.load import load_parts
from anomaly_jax.regions import Region
from anomaly_jax.scoring import decide
from anomaly_jax.thresholds import Thresholds
from anomaly_jax.train import train_and_evaluate
from engine_jax import prediction
from engine_jax.errors import UserError
from tests import programs
from tests.anomaly_jax.settings import tiny_config


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "run"
    train_and_evaluate(tiny_config(members=2, train__epochs=1), workdir, pictures=False)
    return workdir


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Three pictures, each of another size and kind of file."""
    folder = tmp_path_factory.mktemp("images")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    Image.fromarray(pixels[:20, :30, 0]).save(folder / "b.bmp")  # grey
    Image.fromarray(pixels.repeat(3, 0)).save(folder / "c.jpg")
    return folder


call = partial(programs.call, predict)


def test_a_folder_gives_decisions_heat_maps_and_masks_of_each_image(
    run, images, tmp_path, monkeypatch
):
    assert call(monkeypatch, images, "--workdir", run, "--out", tmp_path) == 0
    written = json.loads((tmp_path / "predictions.json").read_text())
    model = predict.load(run)
    assert written["thresholds"]["pixel"] == model.thresholds.pixel
    assert [Path(entry["file"]).name for entry in written["predictions"]] == [
        *("a.png", "b.bmp", "c.jpg")
    ]
    sizes = [(60, 40), (30, 20), (60, 120)]
    for i, (entry, size) in enumerate(zip(written["predictions"], sizes, strict=True), start=1):
        (heat,), (mask,), (_,) = (
            list(tmp_path.glob(f"{i:05d}_?_{kind}.png")) for kind in ("heat", "mask", "spread")
        )
        with Image.open(heat) as opened:
            assert opened.size == size
        with Image.open(mask) as opened:
            assert opened.size == size
            assert np.asarray(opened).mean() == pytest.approx(entry["faulty_part"])
    with Image.open(images / "a.png") as opened:
        (found,) = model.predict([np.asarray(opened)])
    assert written["predictions"][0]["pred_score"] == pytest.approx(found.pred_score, rel=1e-5)


def test_thresholds_change_without_training(run, images, tmp_path, monkeypatch):
    arguments = ("--workdir", run, "--out", tmp_path, "--threshold", 0, "--image-threshold", 2)
    assert call(monkeypatch, images / "a.png", *arguments) == 0
    (entry,) = json.loads((tmp_path / "predictions.json").read_text())["predictions"]
    assert entry["faulty_part"] == 1
    assert entry["pred_label"] is False
    model = predict.load(run)
    image = np.zeros((50, 50, 3), np.uint8)
    score = model.predict([image])[0].pred_score
    assert model.predict([image], Thresholds(None, score))[0].pred_label is True
    assert model.predict([image], Thresholds(None, score + 1e-3))[0].pred_mask is None


@pytest.mark.parametrize("kind", ["npy", "tiff"])
def test_maps_are_written_as_they_are(run, images, tmp_path, monkeypatch, kind):
    arguments = ("--workdir", run, "--out", tmp_path, "--maps", kind, "--pictures", "none")
    assert call(monkeypatch, images / "a.png", *arguments) == 0
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {f"00001_a_map.{kind}", "predictions.json"}
    path = tmp_path / f"00001_a_map.{kind}"
    found = np.load(path) if kind == "npy" else np.asarray(Image.open(path))
    (expected,) = predict.load(run).predict([images / "a.png"])
    assert found.dtype == np.float32
    assert found.shape == (40, 60)
    np.testing.assert_allclose(found, expected.anomaly_map, rtol=1e-5)


def test_pictures_of_faulty_images_alone(run, images, tmp_path, monkeypatch):
    model = predict.load(run)
    scores = {name: model.predict([images / name])[0].pred_score for name in ("a.png", "b.bmp")}
    between = sum(scores.values()) / 2
    arguments = ("--out", tmp_path, "--image-threshold", between, "--pictures", "faulty")
    files = [images / name for name in scores]
    assert call(monkeypatch, *files, "--workdir", run, *arguments) == 0
    stem = "00001_a" if scores["a.png"] > scores["b.bmp"] else "00002_b"
    drawn = {path.name for path in tmp_path.glob("*.png")}
    assert drawn == {f"{stem}_{kind}.png" for kind in ("heat", "mask", "spread")}


def test_a_line_a_file_goes_to_standard_output_as_soon_as_it_is_known(
    run, images, tmp_path, monkeypatch, capsys
):
    """A program that listens gets the first files' lines although a later file stops the program."""
    monkeypatch.setattr(prediction, "_BATCH", 1)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    arguments = ("--workdir", run, "--out", tmp_path, "--pictures", "none")
    assert call(monkeypatch, images / "a.png", images / "b.bmp", broken, *arguments) == 1
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(entry["file"]).name for entry in printed] == ["a.png", "b.bmp"]
    assert printed == json.loads((tmp_path / "predictions.json").read_text())["predictions"]


def test_regions_have_boxes_and_areas():
    mask = np.zeros((10, 12), bool)
    mask[1:4, 2:7] = True
    mask[4, 7] = True  # Touches the rectangle by a corner.
    mask[8, 0] = True
    scores = np.arange(120, dtype=np.float32).reshape(10, 12)
    found = decide(np.where(mask, scores, -1), 0.0, Thresholds(0, None)).regions
    assert found == [
        Region((2, 1, 8, 5), 16, scores[4, 7]),
        Region((0, 8, 1, 9), 1, scores[8, 0]),
    ]
    assert decide(scores, 0.0, Thresholds(1000, None)).regions == []
    assert decide(scores, 0.0, Thresholds(None, None)).regions == []


def test_regions_stand_in_the_predictions(run, images, tmp_path, monkeypatch):
    arguments = ("--workdir", run, "--out", tmp_path, "--threshold", 0)
    assert call(monkeypatch, images / "a.png", *arguments) == 0
    (entry,) = json.loads((tmp_path / "predictions.json").read_text())["predictions"]
    (region,) = entry["regions"]
    assert region["box"] == [0, 0, 60, 40]
    assert region["area"] == 2400
    (found,) = predict.load(run).predict([images / "a.png"])
    assert region["score"] == pytest.approx(found.anomaly_map.max(), rel=1e-5)


# Prints by how many bytes a pixel memory grows at most, after a small image, where a large photo is given to Python and
# then to the program.
MEMORY = """
import sys
from pathlib import Path

import numpy as np

from anomaly_jax import predict

run, file, out = sys.argv[1:]
photo = np.full((3000, 4000, 3), 128, np.uint8)
model = predict.load(run)
model.predict(photo[:40, :60])

def kilobytes(name):
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith(name))

held = kilobytes("VmRSS")

def grown():
    return 1024 * (kilobytes("VmHWM") - held) / (3000 * 4000)

model.predict(photo)
print(grown())
arguments = [file, "--workdir", run, "--out", out, "--threshold", "0"]
predict.main(predict.parser().parse_args(arguments))
print(grown())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's counts of memory")
def test_a_large_photo_takes_little_memory(run, tmp_path):
    """Two float32 maps take 8 bytes a pixel, a mask one; the program holds the photo, its bytes and a picture too."""
    photo = tmp_path / "photo.bmp"
    Image.new("RGB", (4000, 3000), (120, 130, 140)).save(photo)
    command = [sys.executable, "-c", MEMORY, str(run), str(photo), str(tmp_path / "out")]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    python, program = float(said[0]), float(said[-1])
    assert 8 < python < 15
    assert 12 < program < 22


def test_a_loaded_model_gives_the_scores_that_the_run_reported(run):
    model = predict.load(run)
    test = load_parts(model.settings.data, 32, model.settings.seed).test.images
    found = model.predict(list(test.images))
    faulty = [i for i, prediction in enumerate(found) if prediction.pred_label]
    results = json.loads((run / "results.json").read_text())
    at = results["image_level"]["good_only"]
    hits = sum(bool(test.faulty[i]) for i in faulty)
    assert at["recall"] == pytest.approx(hits / test.faulty.sum())
    assert found[3].spread.max() > 0


def test_images_of_any_number(run):
    model = predict.load(run)
    assert model.predict([]) == []
    images = list(np.random.default_rng(0).integers(0, 256, (19, 32, 32, 3), np.uint8))
    many = model.predict(images)
    (last,) = model.predict(images[-1:])
    np.testing.assert_allclose(many[-1].anomaly_map, last.anomaly_map, atol=1e-5)


def test_errors_are_one_line(run, images, tmp_path, monkeypatch, capsys):
    def error(*arguments):
        assert call(monkeypatch, *arguments, "--out", tmp_path / "out") == 1
        return capsys.readouterr().err

    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    assert "no such file or folder" in error("/nowhere", "--workdir", run)
    assert "not a run's folder" in error(images, "--workdir", tmp_path)
    assert "broken.png: can't be read" in error(broken, "--workdir", run)
    nan = (images, "--workdir", run, "--out", tmp_path, "--threshold", "nan")
    assert call(monkeypatch, *nan) == 2
    assert "--threshold: 'nan'; accepted: a finite number" in capsys.readouterr().err
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no images here" in error(empty, "--workdir", run)
    skipped = ("--workdir", run, "--out", tmp_path / "out", "--skip-unreadable")
    assert call(monkeypatch, broken, images / "a.png", *skipped) == 0
    assert "left out" in capsys.readouterr().err


def test_an_unfinished_run_and_other_arrays_are_refused(run, tmp_path):
    (tmp_path / "config.json").write_text((run / "config.json").read_text())
    with pytest.raises(UserError, match="not finished"):
        predict.load(tmp_path)
    with pytest.raises(UserError, match=r"images\[1\]: float64"):
        predict.load(run).predict([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3))])


def test_heat_drawn_in_parts_is_what_is_drawn_at_once(monkeypatch):
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (50, 7, 3), np.uint8)
    values = random.uniform(-0.1, 1.3, (50, 7)).astype(np.float32)
    whole = np.asarray(predict._heat(image, values, 0.8))
    monkeypatch.setattr(predict, "_ROWS", 16)
    np.testing.assert_array_equal(np.asarray(predict._heat(image, values, 0.8)), whole)
    shares = (values / 0.8).clip(0, 1)
    inferno = colormaps["inferno"](shares)[..., :3]
    cover = (0.35 + 0.45 * shares)[..., None]
    expected = (1 - cover) * image.mean(-1, keepdims=True) + cover * 255 * inferno
    np.testing.assert_allclose(whole, expected, atol=0.51)
