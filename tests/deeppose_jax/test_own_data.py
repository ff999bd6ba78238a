"""Runs on key points in COCO's format from their files to predictions, of COCO's joints and of an upper body."""

import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy.io import loadmat

from deeppose_jax import COCO, FLIC, load, make_skeleton
from deeppose_jax.boxes import input_box
from deeppose_jax.config import SCHEMA
from deeppose_jax.data import Part, Parts, Record, open_coco, prepare
from deeppose_jax.data.parts import check_parts
from deeppose_jax.data_config import CocoConfig
from deeppose_jax.metrics import SCORES
from deeppose_jax.oks import expected_similarities, joint_sigmas
from deeppose_jax.skeleton_file import to_json, write_skeleton
from deeppose_jax.train import train, train_and_evaluate
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
        low, high = stage["intervals"]["oks"]["ap"]
        assert 0 <= low <= stage["oks"]["ap"] <= high <= 100
        assert 0 < stage["oks"]["ap"] < 100
    rows = read_metrics(workdir / "metrics.jsonl", "stage_2")
    assert {"validation/oks_ap", "test/pcp_loose"} <= rows[-1].keys()
    assert ("test/pdj_0.2" in rows[-1]) == (skeleton is COCO)
    if drawing:
        drawn = {path.name for path in (workdir / "plots").iterdir()}
        assert {"scores.png", "poses_test.png", "stage_2_metrics.png"} <= drawn
        assert "pdj.png" not in drawn
        assert {"stages.png", "stage_2_crops.png", "stage_2_displacements.png"} <= drawn

    if not drawing:  # The second stage lost, it is trained again to the same end.
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
    scales = np.stack([pose.scales for pose in poses])
    sure = expected_similarities(scales, people.people.boxes, sigmas).mean(1)
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


CROSS = make_skeleton(("north", "west", "middle", "east"), [(0, 2), (1, 3)], [("west", "east")])


def crosses(count, seed):
    """Bright crosses on grey pictures of all sizes."""
    draw = np.random.default_rng(seed)
    records = []
    for i in range(count):
        w, h = draw.integers(30, 60, 2)
        middle = draw.uniform(10, [w - 10, h - 10])
        joints = middle + np.array([[0, -8], [-8, 0], [0, 0], [8, 0]])
        image = Image.new("L", (int(w), int(h)), 90)
        for a, b, _ in CROSS.limbs:
            ImageDraw.Draw(image).line([*joints[a], *joints[b]], fill=255, width=3)
        file = io.BytesIO()
        image.save(file, "PNG")
        records.append(Record(f"cross {i}", file.getvalue, joints, np.ones(4, bool)))
    return Part(*prepare(records, canvas=48))


def test_a_program_trains_on_its_own_arrays(tmp_path):
    config = to_mapping(settings("", ""))
    config["stages"] = 1
    parts = Parts(crosses(16, 0), crosses(8, 1), crosses(8, 2))
    results = train(parts, CROSS, config, tmp_path / "run", pictures=False)
    assert results["dataset"] == "given"
    (stage,) = results["stages"]
    assert [stage[name] for name in (*SCORES, "oks")] == [None] * 6
    assert train(parts, CROSS, config, tmp_path / "run", pictures=False) == results
    model = load(tmp_path / "run")
    assert to_json(model.skeleton) == to_json(CROSS)
    assert model.predict([np.zeros((30, 40, 3), np.uint8)])[0].joints.shape == (4, 2)
    bare = replace(parts.validation.poses, labelled=np.zeros((8, 4), bool))
    with pytest.raises(UserError, match="the validation part: 0 of 8 images have a labelled joint"):
        train(
            replace(parts, validation=replace(parts.validation, poses=bare)),
            CROSS,
            config,
            tmp_path / "bare",
        )
    with pytest.raises(UserError, match="'given' is data that a program gives"):
        train_and_evaluate(
            {**config, "data": {**config["data"], "dataset": "given"}}, tmp_path / "b"
        )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"joints": np.zeros((8, 3, 2), np.float32)}, r"joints: float32 \[8, 3, 2\]; .*8, 4, 2"),
        ({"canvases": np.zeros((8, 32, 32, 3), np.uint8)}, r"canvases: uint8 \[8, 32"),
        ({"labelled": np.ones((8, 4), np.float32)}, "accepted: bool"),
        ({"joints": np.full((8, 4, 2), np.nan, np.float32)}, "joints: not finite"),
        ({"boxes": np.zeros((8, 4), np.float32)}, "an empty box"),
    ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_parts_that_do_not_fit_are_named(change, said):
    good = crosses(8, 1)
    parts = Parts(good, replace(good, poses=replace(good.poses, **change)), good)
    with pytest.raises(UserError, match=f"validation.*{said}"):
        check_parts(parts, CROSS, 48)
    check_parts(replace(parts, validation=good), CROSS, 48)
