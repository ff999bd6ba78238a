"""Runs on key points in COCO's format from their files to predictions, of COCO's joints and of an upper body."""

import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

from deeppose_jax import COCO, FLIC, load, make_skeleton
from deeppose_jax.boxes import input_box
from deeppose_jax.config import SCHEMA, CocoConfig
from deeppose_jax.data import open_coco
from deeppose_jax.oks import expected_similarities, joint_sigmas
from deeppose_jax.skeleton_file import to_json, write_skeleton
from deeppose_jax.train import train_and_evaluate
from deeppose_jax.training import check_flips
from engine_jax.config import to_mapping
from engine_jax.errors import UserError
from engine_jax.writer import read_metrics
from tests.deeppose_jax.cascades import demo_settings
from tests.deeppose_jax.coco_files import coco_set
from tests.deeppose_jax.test_oks import KEYS, coco_says


def settings(train, test, epochs=1):
    """Two stages of a few steps each."""
    config = demo_settings("shared")
    once = replace(config.train, epochs=epochs, batch_size=8)
    data = replace(config.data, dataset="coco", dir="", validation=4)
    return replace(
        config,
        data=replace(data, coco=CocoConfig(str(train), test=str(test))),
        evaluation=replace(config.evaluation, every=1, batch_size=8, train_images=8, bootstrap=10),
        train=once,
        refiner=replace(config.refiner, train=once),
    )


# Without hips there is no torso, and nothing for PDJ to be measured in.
UPPER_BODY = make_skeleton([name for name in FLIC.joints if "hip" not in name], [(0, 1), (1, 2)])


@pytest.mark.parametrize("skeleton", [COCO, UPPER_BODY], ids=["COCO", "upper body"])
def test_a_set_trains_resumes_evaluates_and_predicts(skeleton, tmp_path):
    train = coco_set(tmp_path, "train", 24, skeleton)
    test = coco_set(tmp_path, "test", 8, skeleton, start=24)
    workdir = tmp_path / "run"
    config = settings(train, test)
    drawing = skeleton is UPPER_BODY  # It takes as long as the training.
    results = train_and_evaluate(to_mapping(config), workdir, pictures=drawing)
    assert results["splits"] == {"train": 16, "validation": 8, "test": 8}
    assert results["joints"] == list(skeleton.joints)

    for stage in results["stages"]:
        assert stage["pckh"] is None
        if skeleton.torso is None:
            assert stage["pdj"] is stage["pdj_auc"] is stage["intervals"]["pdj"] is None
        else:
            assert stage["pdj"]["0.5"]["total"] is not None
        assert stage["pcp_strict"][skeleton.limb_parts] is not None
        assert 0 <= stage["oks"]["ap"] <= 100
    rows = read_metrics(workdir / "metrics.jsonl", "stage_2")
    assert {"validation/oks_ap", "test/pcp_loose"} <= rows[-1].keys()
    assert ("test/pdj_0.2" in rows[-1]) == (skeleton is COCO)
    if drawing:
        drawn = {path.name for path in (workdir / "plots").iterdir()}
        assert {"scores.png", "poses_test.png", "stage_2_metrics.png"} <= drawn
        assert "pdj.png" not in drawn
        assert {"stages.png", "stage_2_crops.png", "stage_2_displacements.png"} <= drawn

    # Half of the second stage lost, it is trained again to the same end.
    (workdir / "results.json").unlink()
    shutil.rmtree(workdir / "checkpoints" / "stage_2")
    again = train_and_evaluate(to_mapping(config), workdir, pictures=False)
    for found, expected in zip(again["stages"], results["stages"], strict=True):
        assert found["oks"] == expected["oks"]

    # The model, applied to the boxes of the file, gives what was scored.
    model = load(workdir)
    assert to_json(model.skeleton) == to_json(skeleton)
    people = open_coco(test)
    images = [Image.open(io.BytesIO(record.read())) for record in people.records]
    boxes = [
        input_box(record.box, *image.size)
        for record, image in zip(people.records, images, strict=True)
    ]
    poses = model.predict(images, boxes)
    joints = np.stack([pose.joints for pose in poses])
    assert joints.shape == (8, skeleton.num_joints, 2)
    written = loadmat(workdir / "predictions" / "stage_2.mat")["pred"].transpose(2, 1, 0) - 1
    np.testing.assert_allclose(joints, written, atol=0.01)
    sigmas = joint_sigmas(skeleton)
    sure = expected_similarities(
        np.stack([pose.scales for pose in poses]), people.people.boxes, sigmas
    )
    expected = coco_says(joints, sure, people.people.images, people.people, sigmas)
    scores = results["stages"][-1]["oks"]
    assert [scores[key] for key in KEYS] == [
        None if value < 0 else pytest.approx(100 * value, abs=1e-6) for value in expected
    ]


def test_another_skeleton_in_a_runs_folder_is_refused(tmp_path):
    workdir = tmp_path / "run"
    train, test = coco_set(tmp_path, "train", 12, FLIC), coco_set(tmp_path, "test", 2, FLIC)
    workdir.mkdir()
    write_skeleton(workdir, COCO)
    (workdir / "config.json").write_text(json.dumps(SCHEMA.to_stored(settings(train, test))))
    with pytest.raises(UserError, match=r"a run of another skeleton \(joints: "):
        train_and_evaluate(to_mapping(settings(train, test)), workdir)


def test_flips_need_joints_that_are_left_and_right(tmp_path):
    points = make_skeleton([f"point {i}" for i in range(3)])
    config = settings("", "")
    with pytest.raises(UserError, match=r"config.augment.flip: True, but no joints .*point 0"):
        check_flips(config, points)
    check_flips(config, FLIC)
    still = replace(config, augment=replace(config.augment, flip=False))
    check_flips(still, points)
    tested = replace(still, evaluation=replace(still.evaluation, flip_test=True))
    with pytest.raises(UserError, match=r"config.evaluation.flip_test"):
        check_flips(tested, points)
