"""Scores on other joints than LSP's: of files like LSP's, and of COCO's."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from deeppose_jax import COCO, FLIC, LSP, MPII, evaluate, metrics, predict, save
from deeppose_jax.data import open_coco
from deeppose_jax.oks import joint_sigmas
from deeppose_jax.skeleton_file import named_skeleton, to_json
from deeppose_jax.train import train_and_evaluate
from engine_jax import cli
from engine_jax.config import to_mapping
from engine_jax.errors import UserError
from tests.deeppose_jax.cascades import demo_settings, random_cascade
from tests.deeppose_jax.coco_files import coco_set
from tests.deeppose_jax.test_oks import KEYS, coco_says

BIRD = {"joints": ["left_wing", "right_wing", "beak"], "limbs": [[0, 2], [1, 2]]}
COUNT = 16


def program(monkeypatch, capsys, *arguments):
    """What the program prints, as JSON."""
    monkeypatch.setattr(sys, "argv", ["evaluate", *map(str, arguments), "--json"])
    cli.run(evaluate.main, evaluate.parser())
    return json.loads(capsys.readouterr().out)


def folder_like_lsp(path, skeleton, count=COUNT):
    """Noise with a bright square at each joint: images/ and joints.mat [3, k, n]."""
    rng = np.random.default_rng(0)
    (path / "images").mkdir(parents=True)
    k = skeleton.num_joints
    joints = rng.integers(4, 44, (count, k, 2))
    for i in range(count):
        pixels = rng.integers(0, 90, (48, 48, 3), np.uint8)
        for x, y in joints[i]:
            pixels[y - 1 : y + 2, x - 1 : x + 2] = 255
        Image.fromarray(pixels).save(path / "images" / f"im{i + 1:04d}.png")
    occluded = np.zeros((count, k, 1))
    array = np.concatenate([joints + 1, occluded], -1).transpose(2, 1, 0).astype(float)
    array[:2, 1, 0] = 0  # One joint of one image isn't labelled.
    savemat(path / "joints.mat", {"joints": array})
    return path, joints + 1.0


@pytest.mark.parametrize("name", ["mpii", "flic", "coco", "bird.json"])
def test_a_file_like_lsps_is_scored_as_far_as_its_joints_allow(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bird.json").write_text(json.dumps(BIRD))
    skeleton = named_skeleton(name)
    folder, true = folder_like_lsp(tmp_path / "data", skeleton)
    pred = true + np.random.default_rng(1).normal(0, 4, true.shape)
    savemat(tmp_path / "pred.mat", {"pred": pred.transpose(2, 1, 0)})
    given = ("--predictions", "pred.mat", "--skeleton", name, "--image-folder", folder / "images")
    found = program(monkeypatch, capsys, "--joints", folder / "joints.mat", *given)
    labelled = np.ones(true.shape[:2], bool)
    labelled[0, 1] = False
    expected = metrics.score(pred, true, labelled, skeleton)
    measured = {
        "mpii": {"pcp_strict", "pcp_loose", "pdj", "pdj_auc", "pckh"},
        "flic": {"pcp_strict", "pcp_loose", "pdj", "pdj_auc"},
        "coco": {"pcp_strict", "pcp_loose", "pdj", "pdj_auc"},
        "bird.json": set(),
    }[name]
    for key in metrics.SCORES:
        assert found[key] == expected[key]
        assert (found[key] is not None) == (key in measured)
    total = found["pdj"]["0.2"]["total"] if "pdj" in measured else 50
    assert 0 < total < 100
    monkeypatch.setattr(sys, "argv", ["evaluate", "--joints", "data/joints.mat", *map(str, given)])
    cli.run(evaluate.main, evaluate.parser())  # The table too.
    assert ("PCKh" in capsys.readouterr().out) == ("pckh" in measured)


def test_a_folder_like_lsps_trains_and_is_scored_by_its_model(tmp_path, monkeypatch, capsys):
    """Of MPII's joints; results of the run and of `evaluate` are the same."""
    folder, _ = folder_like_lsp(tmp_path / "data", MPII)
    config = demo_settings("shared")
    few = replace(config.train, epochs=1, batch_size=4)
    data = replace(config.data, dataset="lsp", dir=str(folder), validation=3, skeleton="mpii")
    config = replace(config, stages=1, data=data, train=few)
    workdir = tmp_path / "run"
    results = train_and_evaluate(to_mapping(config), workdir, pictures=False)
    assert results["joints"] == list(MPII.joints)
    (stage,) = results["stages"]
    joints, images = ("--joints", folder / "joints.mat"), ("--images", f"{COUNT // 2 + 1}:{COUNT}")
    own = ("--workdir", workdir, "--image-folder", folder / "images")
    found = program(monkeypatch, capsys, *joints, *images, *own)
    stored = ("--predictions", workdir / "predictions/stage_1.mat", "--skeleton", "mpii")
    again = program(monkeypatch, capsys, *joints, *images, *stored)
    for key in metrics.SCORES:
        assert again[key] == stage[key]
        assert (found[key] is None) == (stage[key] is None)
    assert found["pckh"]["0.5"]["total"] == pytest.approx(stage["pckh"]["0.5"]["total"], abs=2)
    shape = loadmat(workdir / "predictions/stage_1.mat")["pred"].shape
    assert shape == (2, 16, COUNT // 2)


def test_people_of_cocos_joints_are_scored_by_a_model_and_by_its_results(
    tmp_path, monkeypatch, capsys
):
    """Average precision as pycocotools', of the model's own poses and of the results that `predict` wrote of them."""
    truth = coco_set(tmp_path, "people", 8)
    model = tmp_path / "model.safetensors"
    save(random_cascade("shared", COCO), model)
    found = program(monkeypatch, capsys, "--joints", truth, "--workdir", model)
    files = sorted((tmp_path / "people").glob("*.png"))
    argv = ["predict", *files, "--workdir", model, "--boxes", truth, "--format", "coco"]
    monkeypatch.setattr(sys, "argv", [*map(str, argv), "--out", str(tmp_path / "out")])
    cli.run(predict.main, predict.parser())
    capsys.readouterr()
    written = tmp_path / "out" / "predictions.json"
    results = json.loads(written.read_text())
    again = program(monkeypatch, capsys, "--joints", truth, "--predictions", written)
    poses = np.array([result["keypoints"] for result in results]).reshape(-1, 17, 3)[..., :2]
    scores = np.array([result["score"] for result in results])
    people = open_coco(truth).people
    images = np.array([result["image_id"] for result in results])
    expected = coco_says(poses, scores, images, people, joint_sigmas(COCO))
    for scored in (found, again):
        assert [scored["oks"][key] for key in KEYS] == [
            None if value < 0 else pytest.approx(100 * value, abs=1e-6) for value in expected
        ]
    assert 0 < found["oks"]["ap"] < 100
    assert found["pckh"] is None
    own = metrics.score(poses, people.joints, people.labelled, COCO)
    assert found["pdj"]["0.5"]["total"] == pytest.approx(own["pdj"]["0.5"]["total"], abs=1e-6)
    assert [again[key] for key in metrics.SCORES] == [None] * 5


def test_what_does_not_fit_is_one_line(tmp_path, monkeypatch, capsys):
    folder, true = folder_like_lsp(tmp_path / "data", FLIC, 4)
    truth, model = coco_set(tmp_path, "people", 2), tmp_path / "model.safetensors"
    save(random_cascade("shared", COCO), model)
    savemat(tmp_path / "pred.mat", {"pred": true.transpose(2, 1, 0)})
    (tmp_path / "bad.json").write_text('{"joints": ["a", "a"]}')
    (tmp_path / "results.json").write_text('[{"image_id": 100, "score": 1, "keypoints": [1, 2]}]')
    joints = ("--joints", folder / "joints.mat")
    pred = ("--predictions", tmp_path / "pred.mat")
    for arguments, message in (
        ((*joints, *pred), "has shape [3, 11, 4]; accepted: [3, 14, n]"),
        ((*joints, *pred, "--skeleton", "flick"), "flick: no such skeleton; accepted: lsp, coco"),
        ((*joints, *pred, "--skeleton", tmp_path / "bad.json"), "'a' stands twice"),
        (
            (*joints, "--workdir", model, "--image-folder", folder, "--skeleton", "flic"),
            "a model of 17 other joints",
        ),
        (("--joints", truth, "--workdir", model, "--images", "1:2"), "--images: "),
        (("--joints", truth), "a model of 14 other joints"),
        (
            ("--joints", truth, "--predictions", tmp_path / "results.json"),
            "2 numbers as keypoints, for 17 joints",
        ),
    ):
        with pytest.raises(SystemExit):
            program(monkeypatch, capsys, *arguments)
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert message in error


def test_a_skeleton_has_a_name_or_a_file(tmp_path):
    assert named_skeleton("") is named_skeleton("lsp") is LSP
    (tmp_path / "whole.json").write_text(json.dumps(to_json(FLIC)))
    assert to_json(named_skeleton(str(tmp_path / "whole.json"))) == to_json(FLIC)
    (tmp_path / "bird.json").write_text(json.dumps(BIRD))
    bird = named_skeleton(str(tmp_path / "bird.json"))
    assert bird.swap == (1, 0, 2)
    assert bird.limbs == ((0, 2, "left"), (1, 2, "right"))
    (tmp_path / "list.json").write_text("[1, 2]")
    with pytest.raises(UserError, match="holds list; accepted: a JSON object"):
        named_skeleton(str(tmp_path / "list.json"))
