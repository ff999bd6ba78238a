import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from deeppose_jax import COCO, load, predict, save
from deeppose_jax.oks import joint_sigmas
from deeppose_jax.people import Person
from deeppose_jax.person_boxes import PersonBox
from deeppose_jax.plots.overlay import overlay
from deeppose_jax.pose_model import Prediction, StagePose
from tests import programs
from tests.deeppose_jax.cascades import random_cascade
from tests.deeppose_jax.lsp_folder import tiny_lsp
from tests.deeppose_jax.runs import TINY, launch_here


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return tiny_lsp(tmp_path_factory.mktemp("data") / "lsp", count=20).path / "images"


@pytest.fixture(scope="module")
def run(images, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "run"
    arguments = (*TINY, f"--config.data.dir={images.parent}", "--config.train.epochs=1")
    done = launch_here(*arguments, f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    return workdir


call = partial(programs.call, predict)


def test_a_folder_gives_a_json_and_a_picture_for_each_image(run, images, tmp_path, monkeypatch):
    assert call(monkeypatch, images, "--workdir", run, "--out", tmp_path / "out") == 0
    written = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert written["joint_names"][0] == "right_ankle"
    assert len(written["predictions"]) == 20
    first = written["predictions"][0]
    assert first["file"] == str(images / "im0001.jpg")
    (person,) = first["people"]
    with Image.open(first["file"]) as image:
        whole = [-0.5, -0.5, image.width - 0.5, image.height - 0.5]
        assert person["box"] == person["input_box"] == whole
        assert person["box_score"] is None
        expected = load(run).predict([np.asarray(image)])[0].joints
    np.testing.assert_allclose(person["joints"], expected, atol=2e-3)
    assert len(list((tmp_path / "out").glob("*.png"))) == 20


def test_each_box_is_a_person_and_is_enlarged_within_the_image(run, images, tmp_path, monkeypatch):
    image = images / "im0002.jpg"
    with Image.open(image) as opened:
        pixels = np.asarray(opened)
    height, width = pixels.shape[:2]
    boxes = ("--box", "10,12,30,52", "--box", "-5,0,25,40")
    assert call(monkeypatch, image, "--workdir", run, "--out", tmp_path, "--stages", *boxes) == 0
    (found,) = json.loads((tmp_path / "predictions.json").read_text())["predictions"]
    first, second = found["people"]
    assert (first["box"], second["box"]) == ([10, 12, 30, 52], [-5, 0, 25, 40])
    assert first["input_box"] == [7.5, 7, 32.5, 57]
    assert second["input_box"] == [-0.5, -0.5, 28.75, min(45, height - 0.5)]
    assert width > 32
    for person in (first, second):
        box = tuple(person["input_box"])
        expected = load(run).predict([pixels], [box])[0].joints
        np.testing.assert_allclose(person["joints"], expected, atol=2e-3)
        assert person["stages"] == [{"joints": person["joints"], "scales": None}]
    assert np.abs(np.subtract(first["joints"], second["joints"])).max() > 1


def test_a_file_of_boxes_says_who_is_where(run, images, tmp_path, monkeypatch):
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("file,x0,y0,x1,y1,score\nim0001.jpg,1,2,30,40,0.75\nim0001.jpg,5,6,20,30,\n")
    files = (images / "im0001.jpg", images / "im0002.jpg")
    arguments = ("--workdir", run, "--out", tmp_path / "out", "--boxes", boxes, "--enlarge", "1")
    arguments = (*arguments, "--draw-scores")
    assert call(monkeypatch, *files, *arguments) == 0
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())["predictions"]
    assert [len(entry["people"]) for entry in found] == [2, 0]
    scored, other = found[0]["people"]
    assert (scored["input_box"], scored["box_score"]) == ([1, 2, 30, 40], 0.75)
    assert (other["input_box"], other["box_score"]) == ([5, 6, 20, 30], None)
    assert len(list((tmp_path / "out").glob("*.png"))) == 2


def test_a_file_of_other_images_boxes_is_said(run, images, tmp_path, monkeypatch, caplog):
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("file,x0,y0,x1,y1\nphotos/im0001.jpg,1,2,30,40\n")
    arguments = ("--workdir", run, "--out", tmp_path / "out", "--boxes", boxes)
    assert call(monkeypatch, images / "im0001.jpg", *arguments) == 0
    assert caplog.messages == [
        f"{boxes}: has no box in any of the images; it names photos/im0001.jpg"
    ]


def test_folders_in_a_folder_are_looked_into_where_asked(
    run, images, tmp_path, monkeypatch, capsys
):
    deep = tmp_path / "all" / "more"
    deep.mkdir(parents=True)
    for name in ("im0003.jpg", "im0010.jpg"):
        (deep / name).write_bytes((images / name).read_bytes())
    arguments = ("--workdir", run, "--out", tmp_path / "out")
    assert call(monkeypatch, tmp_path / "all", *arguments) == 1
    assert "--recursive looks into the folders in it" in capsys.readouterr().err
    assert call(monkeypatch, tmp_path / "all", *arguments, "--recursive") == 0
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())["predictions"]
    assert [entry["file"] for entry in found] == [
        str(deep / name) for name in ("im0003.jpg", "im0010.jpg")
    ]


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
        (
            (good, "--workdir", run, "--box", "5,5,9,9", "--box", "-50,-50,-10,-10"),
            "im0001.jpg: (-50.0, -50.0, -10.0, -10.0) is outside of its image",
        ),
        ((good, "--workdir", run, "--boxes", tmp_path / "no.csv"), "no.csv: can't be read"),
        ((good, "--workdir", run, "--box", "5,0,5,9"), "accepted: (x0, y0, x1, y1) with x0 < x1"),
        ((good, "--workdir", run, "--box", "0,0,9e9,9"), "10 times the longer side of the image"),
    ):
        assert call(monkeypatch, *arguments, "--out", tmp_path / "out") == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert message in error
        assert error.count("\n") == 1
    assert call(monkeypatch, good, "--workdir", run, "--box", "0,0,inf,9") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "'0,0,inf,9'" in line
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


@pytest.fixture
def scaled(tmp_path):
    """The file of a model that predicts scales, of COCO's joints."""
    file = tmp_path / "model.safetensors"
    save(random_cascade("shared", COCO), file)
    return file


def test_cocos_results_have_the_files_numbers_and_scores(scaled, images, tmp_path, monkeypatch):
    found = [
        {"image_id": 31, "category_id": 1, "bbox": [4, 5, 30, 40], "score": 0.5},
        {"image_id": 31, "category_id": 1, "bbox": [10, 5, 30, 40], "score": 0.9},
        {"image_id": 12, "category_id": 1, "bbox": [2, 3, 40, 40], "score": 1.0},
    ]
    pictures = [{"id": 31, "file_name": "im0002.jpg"}, {"id": 12, "file_name": "im0003.jpg"}]
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"images": pictures, "annotations": found}))
    files = [images / f"im000{i}.jpg" for i in (3, 1, 2)]
    common = (*files, "--workdir", scaled, "--boxes", boxes)
    assert call(monkeypatch, *common, "--out", tmp_path / "people") == 0
    assert call(monkeypatch, *common, "--out", tmp_path / "coco", "--format=coco") == 0
    entries = json.loads((tmp_path / "people" / "predictions.json").read_text())["predictions"]
    results = json.loads((tmp_path / "coco" / "predictions.json").read_text())
    people = [person for entry in entries for person in entry["people"]]
    assert [result["image_id"] for result in results] == [12, 31, 31]
    for result, person, box_score in zip(results, people, (1.0, 0.5, 0.9), strict=True):
        points = np.reshape(result["keypoints"], (17, 3))
        np.testing.assert_array_equal(points[:, :2], person["joints"])
        np.testing.assert_array_equal(points[:, 2], person["joint_scores"])
        x0, y0, x1, y1 = person["box"]
        squared = 2 * np.square(person["scales"])
        spread = (x1 - x0) * (y1 - y0) * np.square(2 * joint_sigmas(COCO))
        np.testing.assert_allclose(points[:, 2], np.exp(-squared / spread), atol=1e-4)
        assert result["score"] == pytest.approx(box_score * points[:, 2].mean(), abs=1e-4)
        assert result["category_id"] == 1


def test_without_numbers_cocos_results_count_the_images(run, images, tmp_path, monkeypatch):
    files = [images / f"im000{i}.jpg" for i in (3, 1)]
    arguments = (*files, "--workdir", run, "--out", tmp_path, "--format=coco")
    assert call(monkeypatch, *arguments) == 0
    results = json.loads((tmp_path / "predictions.json").read_text())
    assert [result["image_id"] for result in results] == [1, 2]
    # This model predicts no scales.
    assert [result["score"] for result in results] == [1, 1]


def someone(box, joint_scores, score=None) -> Person:
    pose = StagePose(np.linspace(box[:2], box[2:], 17), np.ones(17))
    return Person(PersonBox(box, score), Prediction(box, (pose,)), np.array(joint_scores))


def test_everybody_is_drawn_and_their_scores_where_asked():
    photo = np.zeros((80, 120, 3), np.uint8)
    sure, unsure = np.full(17, 0.75), np.linspace(0.1, 0.9, 17)
    people = [
        someone((5.0, 20.0, 50.0, 70.0), sure, 0.4),
        someone((60.0, 2.0, 100.0, 60.0), unsure),
    ]
    (axes,) = overlay(photo, people, COCO).axes
    (alone,) = overlay(photo, people[:1], COCO).axes
    assert len(axes.lines) == 2 * len(alone.lines) > 0
    assert len(axes.patches) == 2
    assert len(axes.texts) == 0
    (axes,) = overlay(photo, people, COCO, scores=True).axes
    written = [text.get_text() for text in axes.texts]
    assert written[:18] == ["0.75"] * 17 + ["0.30"]  # Of the box and the joints together.
    assert written[18:] == [f"{score:.2f}" for score in unsure] + ["0.50"]
    np.testing.assert_allclose([text.xy for text in axes.texts[:17]], people[0].prediction.joints)


def test_the_picture_of_a_large_photo_is_drawn_small_with_its_pose_in_place():
    """As wide as 2048 pixels; a red square of the photo is where it was, in proportion."""
    photo = np.zeros((1500, 3000, 3), np.uint8)
    photo[600:900, 1200:1800] = (255, 0, 0)
    figure = overlay(photo, [], COCO)
    assert (figure.get_size_inches() * 150).round().tolist() == [2048, 1024]
    (shown,) = figure.axes[0].get_images()
    assert shown.get_array().shape == (1024, 2048, 3)
    assert tuple(shown.get_extent()) == (-0.5, 2999.5, 1499.5, -0.5)
    figure.set_dpi(150)
    FigureCanvasAgg(figure).draw()
    drawn = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    red = np.argwhere((drawn[..., 0] > 128) & (drawn[..., 1] < 64))
    np.testing.assert_allclose(red.min(0), [409, 819], atol=2)
    np.testing.assert_allclose(red.max(0), [614, 1228], atol=2)
