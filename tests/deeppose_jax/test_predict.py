import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeppose_jax import load, predict
from engine_jax import cli
from tests.deeppose_jax.lsp_folder import tiny_lsp
from tests.deeppose_jax.runs import TINY, launch


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return tiny_lsp(tmp_path_factory.mktemp("data") / "lsp", count=20).path / "images"


@pytest.fixture(scope="module")
def run(images, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "run"
    arguments = (*TINY, f"--config.data.dir={images.parent}", "--config.train.epochs=1")
    done = launch(*arguments, f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    return workdir


def call(monkeypatch, *arguments):
    """The program's exit status."""
    monkeypatch.setattr(sys, "argv", ["predict", *map(str, arguments)])
    try:
        cli.run(predict.main, predict.parser())
    except SystemExit as stopped:
        return stopped.code
    return 0


def test_a_folder_gives_a_json_and_a_picture_for_each_image(run, images, tmp_path, monkeypatch):
    assert call(monkeypatch, images, "--workdir", run, "--out", tmp_path / "out") == 0
    written = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert written["joint_names"][0] == "right_ankle"
    assert len(written["predictions"]) == 20
    first = written["predictions"][0]
    assert first["file"] == str(images / "im0001.jpg")
    with Image.open(first["file"]) as image:
        assert first["box"] == [-0.5, -0.5, image.width - 0.5, image.height - 0.5]
        expected = load(run).predict([np.asarray(image)])[0].joints
    np.testing.assert_allclose(first["joints"], expected, atol=2e-3)
    assert len(list((tmp_path / "out").glob("*.png"))) == 20


def test_a_box_moves_the_prediction(run, images, tmp_path, monkeypatch):
    image = images / "im0002.jpg"
    box = ("--box", "10,12,40,60")
    assert call(monkeypatch, image, "--workdir", run, "--out", tmp_path, *box) == 0
    (found,) = json.loads((tmp_path / "predictions.json").read_text())["predictions"]
    assert found["box"] == [10, 12, 40, 60]
    with Image.open(image) as opened:
        expected = load(run).predict([opened], [(10.0, 12.0, 40.0, 60.0)])[0].joints
    np.testing.assert_allclose(found["joints"], expected, atol=2e-3)


def test_bad_input_gets_one_line(run, images, tmp_path, monkeypatch, capsys):
    broken, empty = tmp_path / "broken.png", tmp_path / "empty"
    broken.write_bytes(b"\x89PNG but no more")
    empty.mkdir()
    good = images / "im0001.jpg"
    for arguments, message in (
        ((tmp_path / "none.jpg", "--workdir", run), "none.jpg: no such file"),
        ((empty, "--workdir", run), "empty: no images here; accepted: .png"),
        ((broken, "--workdir", run), "broken.png"),
        ((good, "--workdir", tmp_path), "not a run's folder"),
        ((good, "--workdir", run, "--box", "-50,-50,-10,-10"), "is outside of its image"),
        ((good, "--workdir", run, "--box", "5,0,5,9"), "accepted: (x0, y0, x1, y1) with x0 < x1"),
        ((good, "--workdir", run, "--box", "0,0,9e9,9"), "10 times the longer side of the image"),
    ):
        assert call(monkeypatch, *arguments, "--out", tmp_path / "out") == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert message in error
        assert error.count("\n") == 1
    skip = (broken, good, "--workdir", run, "--skip-unreadable")
    assert call(monkeypatch, *skip, "--out", tmp_path / "out") == 0
    assert "left out" in capsys.readouterr().err


def test_a_checkpoint_of_another_architecture_is_refused(
    run, images, tmp_path, monkeypatch, capsys
):
    config = json.loads((run / "config.json").read_text())
    config["model"]["hidden"] = [24]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "checkpoints").symlink_to(run / "checkpoints")
    good = images / "im0001.jpg"
    assert call(monkeypatch, good, "--workdir", tmp_path, "--out", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "checkpoint of another architecture" in error
    assert "(16,) there, (24,) in the model" in error
