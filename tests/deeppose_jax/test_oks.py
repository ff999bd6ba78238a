"""COCO's average precision, beside pycocotools' own."""

import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest

from deeppose_jax import COCO, LSP, MPII
from deeppose_jax.oks import People, expected_similarities, joint_sigmas, oks_scores, similarities
from engine_jax.statistics import bootstrap_weights

KEYS = ("ap", "ap50", "ap75", "ap_medium", "ap_large")
KEYS = (*KEYS, *(key.replace("ap", "ar") for key in KEYS))


def someone(**changes):
    """A person of 17 joints in image 1, all labelled."""
    joints = np.random.default_rng(0).uniform(20, 80, (1, 17, 2))
    fields = {
        "images": np.array([1]),
        "joints": joints,
        "labelled": np.ones((1, 17), bool),
        "areas": np.array([2500.0]),
        "boxes": np.array([[20.0, 20.0, 80.0, 80.0]]),
        "crowd": np.array([False]),
        "ignored": np.array([False]),
    }
    return People(**(fields | changes))


def together(*people):
    return People(
        **{name: np.concatenate([vars(one)[name] for one in people]) for name in vars(people[0])}
    )


def poses_of(people, scores=None):
    n = len(people)
    return people.joints, np.ones(n) if scores is None else np.array(scores), people.images


SIGMAS = joint_sigmas(COCO)


def test_sigmas_are_cocos_by_name():
    expected = [0.026, *[0.025] * 2, *[0.035] * 2, *[0.079] * 2, *[0.072] * 2, *[0.062] * 2]
    expected += [*[0.107] * 2, *[0.087] * 2, *[0.089] * 2]
    assert SIGMAS.tolist() == expected
    assert joint_sigmas(LSP)[[0, 12, 13]].tolist() == [0.089, 0.079, 0.079]
    assert joint_sigmas(MPII)[6] == 0.079


def test_oks_is_the_mean_over_labelled_joints():
    person = someone(labelled=np.arange(17)[None] < 2)
    moved = person.joints.copy()
    moved[0, 1] += (3.0, 4.0)  # the left eye, by 5 pixels
    moved[0, 5:] += 1000  # not labelled
    (found,) = similarities(moved, person, SIGMAS)[0]
    assert found == pytest.approx((1 + np.exp(-25 / (2 * 2500 * 0.05**2))) / 2)
    moved[0, 1] = np.nan
    assert similarities(moved, person, SIGMAS)[0, 0] == 0.5


def test_perfect_poses_score_100_and_none_score_0():
    person = someone()
    perfect = oks_scores(*poses_of(person), person, SIGMAS)
    assert [perfect[key] for key in KEYS if "large" not in key] == pytest.approx([100.0] * 8)
    assert perfect["ap_large"] is None
    nothing = oks_scores(np.zeros((0, 17, 2)), np.zeros(0), np.zeros(0, int), person, SIGMAS)
    assert (nothing["ap"], nothing["ar"]) == (0.0, 0.0)
    nobody = oks_scores(*poses_of(person), someone(ignored=np.array([True])), SIGMAS)
    assert set(nobody.values()) == {None}


def test_a_second_pose_of_a_person_is_wrong_and_of_a_crowd_left_out():
    person = someone()
    twice = together(person, person)
    scores = np.array([0.5, 0.9])
    joints = twice.joints.copy()
    joints[1] += 500  # the better one is nowhere near
    found = oks_scores(joints, scores, twice.images, person, SIGMAS)
    assert found["ap"] == pytest.approx(50)
    crowd = someone(joints=joints[1:], crowd=np.array([True]), ignored=np.array([True]))
    found = oks_scores(joints, scores, twice.images, together(person, crowd), SIGMAS)
    assert found["ap"] == pytest.approx(100)


def random_set(seed):
    """Dozens of people in some images, crowds and people without joints among them, and poses around most of them."""
    draw = np.random.default_rng(seed)
    n = 60
    sizes = draw.uniform(20, 220, (n, 1, 1))
    corner = draw.uniform(0, 300, (n, 1, 2))
    joints = corner + sizes * draw.random((n, 17, 2))
    labelled = draw.random((n, 17)) < 0.7
    crowd = draw.random(n) < 0.1
    empty = draw.random(n) < 0.15
    labelled[empty] = False
    labelled[~empty, 0] = True
    people = People(
        images=draw.integers(1, 12, n),
        joints=np.where(labelled[..., None], joints, 0.0),
        labelled=labelled,
        areas=(sizes[:, 0, 0] ** 2 * draw.uniform(0.3, 0.8, n)),
        boxes=np.concatenate([corner[:, 0], corner[:, 0] + sizes[:, 0]], 1),
        crowd=crowd,
        ignored=crowd | empty,
    )
    again = np.concatenate([np.arange(n), draw.integers(0, n, 40)])
    noise = sizes[again] * draw.choice([0.01, 0.05, 0.2], (len(again), 1, 1))
    poses = joints[again] + noise * draw.normal(size=(len(again), 17, 2))
    kept = draw.random(len(again)) < 0.9
    # Equal scores are ranked by their order.
    scores = np.round(draw.random(len(again)), 1)
    return poses[kept], scores[kept], people.images[again][kept], people


def coco_says(poses, scores, images, people, sigmas=SIGMAS):
    """The ten numbers of pycocotools."""
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    annotations = [
        {
            "id": i + 1,
            "image_id": int(people.images[i]),
            "category_id": 1,
            "bbox": [*people.boxes[i, :2], *(people.boxes[i, 2:] - people.boxes[i, :2])],
            "area": people.areas[i],
            "iscrowd": int(people.crowd[i]),
            "num_keypoints": int(people.labelled[i].sum()),
            "keypoints": np.concatenate(
                [people.joints[i], 2.0 * people.labelled[i][:, None]], 1
            ).ravel(),
        }
        for i in range(len(people))
    ]
    results = [
        {
            "image_id": int(images[i]),
            "category_id": 1,
            "score": scores[i],
            "keypoints": np.concatenate([poses[i], np.ones((len(poses[i]), 1))], 1)
            .ravel()
            .tolist(),
        }
        for i in range(len(poses))
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        true = coco.COCO()
        true.dataset = {
            "images": [{"id": int(i)} for i in np.unique(people.images)],
            "annotations": annotations,
            "categories": [{"id": 1, "name": "person"}],
        }
        true.createIndex()
        evaluation = cocoeval.COCOeval(true, true.loadRes(results), "keypoints")
        evaluation.params.kpt_oks_sigmas = sigmas
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize("seed", range(4))
def test_pycocotools_finds_the_same(seed):
    poses, scores, images, people = random_set(seed)
    expected = coco_says(poses, scores, images, people)
    found = oks_scores(poses, scores, images, people, SIGMAS)
    assert 5 < found["ap"] < 80
    for key, value in zip(KEYS, expected, strict=True):
        assert found[key] == pytest.approx(100 * value, abs=1e-6), key


def test_only_twenty_poses_of_an_image_count():
    person = someone()
    many = np.repeat(person.joints, 21, 0)
    many[:20] += 500
    scores = np.linspace(1, 0.5, 21)
    images = np.ones(21, int)
    assert oks_scores(many, scores, images, person, SIGMAS)["ar"] == 0
    assert oks_scores(many[1:], scores[1:], images[1:], person, SIGMAS)["ar"] == 100


def test_a_joint_that_is_surer_of_itself_scores_higher():
    boxes = np.array([[0.0, 0.0, 100.0, 100.0]] * 3)
    scales = np.array([[1.0], [5.0], [20.0]]) * np.ones(17)
    sure, less, unsure = expected_similarities(scales, boxes, SIGMAS)
    assert (sure > less).all()
    assert (less > unsure).all()
    # An eye that is off by 5 pixels across and down, in a person of 5,000 square pixels.
    assert less[1] == pytest.approx(np.exp(-50 / (2 * 5000 * 0.05**2)))
    # Twice the size with twice the errors is as sure.
    (larger,) = expected_similarities(2 * scales[1:2], 2 * boxes[:1], SIGMAS)
    np.testing.assert_allclose(larger, less)
    assert expected_similarities(None, boxes, SIGMAS).tolist() == [[1] * 17] * 3


def test_intervals_are_those_of_images_drawn_with_replacement():
    poses, scores, images, people = random_set(0)
    scores = scores + 1e-3 * np.random.default_rng(1).random(len(scores))  # no two are equal
    found = oks_scores(poses, scores, images, people, SIGMAS, resamples=20, seed=3)
    assert found.pop("intervals").keys() == {"ap", "ap50", "ap75", "ar", "ar50", "ar75"}
    assert found == oks_scores(poses, scores, images, people, SIGMAS)
    # One resample, once by weights and once by images that are copied.
    (ap, _) = oks_scores(poses, scores, images, people, SIGMAS, resamples=1, seed=3)["intervals"][
        "ap"
    ]
    numbers = np.unique(people.images)
    (draw,) = bootstrap_weights(len(numbers), 1, 3).astype(int)
    assert draw.max() > 1
    mine, theirs, new = [], [], []
    for number, often in zip(numbers, draw, strict=True):
        for copy in range(often):
            mine.append(np.flatnonzero(images == number))
            theirs.append(np.flatnonzero(people.images == number))
            new.append(100 * number + copy)
    chosen = people.rows(np.concatenate(theirs))
    copied = replace(chosen, images=np.repeat(new, [len(rows) for rows in theirs]))
    rows = np.concatenate(mine)
    expected = oks_scores(
        poses[rows], scores[rows], np.repeat(new, [len(rows) for rows in mine]), copied, SIGMAS
    )
    assert ap == pytest.approx(expected["ap"], abs=1e-9)
