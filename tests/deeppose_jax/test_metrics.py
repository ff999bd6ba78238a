import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.io import loadmat

from deeppose_jax import metrics
from deeppose_jax.published import PDJ_THRESHOLDS, PUBLISHED
from deeppose_jax.skeleton import LSP
from deeppose_jax.skeletons import COCO, FLIC, MPII

PARTS = ("torso", "upper_leg", "lower_leg", "upper_arm", "lower_arm", "head", "ten_sticks")
GROUPS = ("head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "total")

# data/published/README.md, cell by cell.
PCP_STRICT = {
    ("WangLiCVPR13", "PC"): "87.5 56.0 55.8 43.1 32.1 79.1 54.1",
    ("TompsonNIPS14", "PC"): "90.3 70.4 61.1 63.0 51.2 83.7 66.6",
    ("YangCVPR16", "PC"): "95.6 78.5 71.8 72.2 61.8 83.9 74.8",
    ("YangCVPR16", "OC"): "96.5 88.7 81.7 78.8 66.7 83.1 81.1",
    ("ChuCVPR16", "OC"): "95.4 87.6 83.2 76.9 65.2 89.6 81.1",
}
PDJ_AT_02 = {
    ("WangLiCVPR13", "PC"): "84.7 57.1 43.7 36.7 56.7 52.4 50.8 54.6",
    ("TompsonNIPS14", "PC"): "90.6 79.2 67.9 63.4 69.5 71.0 64.2 72.3",
    ("YangCVPR16", "PC"): "90.6 78.1 73.8 68.8 74.8 69.9 58.9 73.6",
    ("YangCVPR16", "OC"): "90.6 89.1 80.3 73.5 85.5 82.8 68.8 81.5",
    ("ChuCVPR16", "OC"): "93.7 87.2 78.2 73.8 88.2 83.0 80.9 83.6",
}
# Below the tables: four limbs strict and loose, PDJ total at 0.1, 0.2, 0.3 and 0.5.
YANG = {
    "PC": ((71.10, 76.01), "42.6 73.6 81.9 88.3"),
    "OC": ((78.96, 83.52), "46.9 81.5 89.1 92.9"),
}

# A standing figure in LSP's order; torso length |joint 9 - joint 2| is 5.
FIGURE = np.array(
    [
        [[0, 12], [0, 8], [0, 4], [3, 4], [3, 8], [3, 12]],
        [[-2, 4], [-2, 2], [0, 0], [3, 0], [5, 2], [5, 4]],
    ],
    float,
).reshape(12, 2)
FIGURE = np.concatenate([FIGURE, [[1.5, 0], [1.5, -2]]])[None]  # [1, 14, 2]
ALL = np.ones((1, 14), bool)


def published(folder, method, labels):
    joints = loadmat(folder / "published" / f"LSP-joints-{labels}.mat")["joints"]
    name = f"pred_keypoints_lsp_{labels.lower()}.mat"
    pred = loadmat(folder / "published" / method / name)["pred"]
    true = joints[:2, :, 1000:].transpose(2, 1, 0)
    return pred.transpose(2, 1, 0), true, np.ones(true.shape[:2], bool)


def moved(joint, dx, dy=0.0):
    pred = FIGURE.copy()
    pred[0, joint] += (dx, dy)
    return pred


def random_poses(n, seed=0):
    rng = np.random.default_rng(seed)
    true = rng.uniform(0, 100, (n, 14, 2))
    pred = true + rng.normal(0, 15, true.shape)
    return pred, true, rng.random((n, 14)) < 0.8


@pytest.mark.parametrize(("method", "labels"), PCP_STRICT)
def test_published_tables_come_out_to_the_digit(real_data, method, labels):
    arrays = published(real_data, method, labels)
    score = metrics.score(*arrays, LSP, (0.1, 0.2, 0.3, 0.5), resamples=0)
    strict = " ".join(f"{score['pcp_strict'][part]:.1f}" for part in PARTS)
    assert strict == PCP_STRICT[method, labels]
    assert " ".join(f"{score['pdj']['0.2'][g]:.1f}" for g in GROUPS) == PDJ_AT_02[method, labels]
    if method == "YangCVPR16":
        limbs, totals = YANG[labels]
        found = [score[name]["four_limbs"] for name in ("pcp_strict", "pcp_loose")]
        # Not as text: 83.525 is exact, and rounds either way.
        assert found == pytest.approx(limbs, rel=0, abs=0.005 + 1e-9)
        assert " ".join(f"{score['pdj'][t]['total']:.1f}" for t in score["pdj"]) == totals


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda e: f"{e.folder}-{e.labels}")
def test_reference_numbers_are_those_of_the_predictions(real_data, entry):
    arrays = published(real_data, entry.folder, entry.labels)
    score = metrics.score(*arrays, LSP, PDJ_THRESHOLDS, resamples=0)
    found = [float(f"{score['pdj'][f'{t:g}']['total']:.1f}") for t in PDJ_THRESHOLDS]
    assert list(entry.pdj) == found


def test_a_stick_of_length_zero_counts_and_is_found_only_where_it_is_hit(real_data):
    pred, true, labelled = published(real_data, "YangCVPR16", "PC")
    assert np.all(true[184, 0] == true[184, 1])  # im1185: right ankle and right knee.
    correct, counted = metrics.stick_correct(pred, true, labelled, LSP)
    assert counted[184, 0]
    assert not correct[184, 0]
    assert metrics.stick_correct(true, true, labelled, LSP)[0][184, 0]


def test_a_perfect_pose_scores_100_everywhere():
    score = metrics.score(FIGURE, FIGURE, ALL, LSP, resamples=0)
    assert set(score["pcp_strict"].values()) == set(score["pcp_loose"].values()) == {100.0}
    assert set(score["pdj"]["0.1"].values()) == set(score["pdj_auc"].values()) == {100.0}


def test_strict_wants_both_ends_and_loose_their_mean():
    # The right lower leg is 4 long: the ankle may be off by 2 when strict; by 4, when loose, if the
    # knee is right.
    for dx, strict, loose in ((2.0, True, True), (2.1, False, True), (4.1, False, False)):
        pred = moved(0, dx)
        assert metrics.stick_correct(pred, FIGURE, ALL, LSP)[0][0, 0] == strict
        assert metrics.stick_correct(pred, FIGURE, ALL, LSP, strict=False)[0][0, 0] == loose
        others = metrics.stick_correct(pred, FIGURE, ALL, LSP)[0][0, 1:]
        assert others.all()


def test_the_torso_runs_between_the_middles_of_hips_and_shoulders():
    # Its length is 4. One hip off by 4 moves the middle by 2, the limit.
    torso = [stick.part for stick in LSP.sticks].index("torso")
    for dx, found in ((-4.0, True), (-4.2, False)):
        assert metrics.stick_correct(moved(2, dx), FIGURE, ALL, LSP)[0][0, torso] == found


def test_pcp_means():
    # Both lower legs and one of two upper arms are wrong.
    pred = FIGURE.copy()
    pred[0, [0, 5]] += 100
    pred[0, 7] += (0, 1.3)  # The right elbow: the upper arm is 2.83 long, the lower arm 2.
    score = metrics.score(pred, FIGURE, ALL, LSP, resamples=0)["pcp_strict"]
    assert score == pytest.approx(
        {
            "torso": 100,
            "upper_leg": 100,
            "lower_leg": 0,
            "upper_arm": 100,
            "lower_arm": 50,
            "head": 100,
            "ten_sticks": 70,
            "six_parts": 75,
            "four_limbs": 62.5,
        }
    )


def test_pdj_limit_is_a_share_of_the_torso_diameter():
    # Torso diameter 5: at 0.2 an error of 1 is the limit and belongs to it.
    for dx, found in ((1.0, True), (1.01, False)):
        assert metrics.pdj_correct(moved(6, dx), FIGURE, ALL, LSP, 0.2)[0][0, 6] == found
    score = metrics.score(moved(6, 1.01), FIGURE, ALL, LSP, (0.2, 0.5), resamples=0)["pdj"]
    assert score["0.2"]["wrist"] == 50
    assert score["0.2"]["total"] == pytest.approx(100 * 13 / 14)
    assert score["0.5"]["total"] == 100


def test_area_under_pdj_is_the_limit_of_a_fine_grid():
    arrays = random_poses(40)
    grid = np.linspace(0, 0.5, 20001)[1:]
    area, counted = metrics.pdj_area(*arrays, LSP)
    error = np.linalg.norm(arrays[0] - arrays[1], axis=-1)
    torso = np.linalg.norm(arrays[1][:, 9] - arrays[1][:, 2], axis=-1)[:, None]
    staircase = np.mean([error <= t * torso for t in grid], 0)
    np.testing.assert_allclose(area[counted], staircase[counted], atol=1e-4)
    assert np.all(area[~counted] == 0)
    # By hand: off by 1 of a torso of 5 is a ratio of 0.2, and 1 - 0.2 / 0.5 = 0.6.
    score = metrics.score(moved(6, 1.0), FIGURE, ALL, LSP, resamples=0)["pdj_auc"]
    assert score["wrist"] == pytest.approx(80)
    assert score["total"] == pytest.approx(100 * 13.6 / 14)


def test_unlabelled_joints_take_part_in_nothing():
    labelled = ALL.copy()
    labelled[0, 6] = False  # right wrist
    wrong = moved(6, 1000.0)
    wrong[0, 0] += 1000
    score = metrics.score(wrong, FIGURE, labelled, LSP, resamples=0)
    assert score["pcp_strict"]["lower_arm"] == 100
    assert score["pcp_strict"]["ten_sticks"] == pytest.approx(100 * 8 / 9)
    assert score["pdj"]["0.2"]["wrist"] == 100
    assert score["pdj"]["0.2"]["total"] == pytest.approx(100 * 12 / 13)
    # Whatever stands in the unlabelled places, NaN included.
    true = FIGURE.copy()
    true[0, 6] = np.nan
    assert metrics.score(wrong, true, labelled, LSP, resamples=0) == score


def test_a_joint_s_rate_is_over_the_images_that_label_it():
    # The left wrist is right in one of three images, the right wrist in its only one.
    true, labelled = np.repeat(FIGURE, 3, 0), np.ones((3, 14), bool)
    labelled[1:, 6] = False
    pred = true.copy()
    pred[1:, 11] += 100
    score = metrics.score(pred, true, labelled, LSP, resamples=0)
    assert score["pdj"]["0.2"]["wrist"] == pytest.approx((100 / 3 + 100) / 2)
    assert score["pcp_strict"]["lower_arm"] == pytest.approx((100 / 3 + 100) / 2)


def test_an_image_without_a_torso_joint_is_left_out_of_pdj_only():
    true, labelled = np.repeat(FIGURE, 2, 0), np.ones((2, 14), bool)
    labelled[1, 9] = False
    pred = true.copy()
    pred[1, 0] += 100
    score = metrics.score(pred, true, labelled, LSP, resamples=0)
    assert score["pdj"]["0.2"]["ankle"] == score["pdj_auc"]["ankle"] == 100
    assert score["pcp_strict"]["lower_leg"] == 75


@pytest.mark.parametrize("n", [0, 3])
def test_nothing_counted_is_none(n):
    true = np.repeat(FIGURE, n, 0)
    score = metrics.score(true, true, np.zeros((n, 14), bool), LSP, resamples=10)
    assert score["images"] == n
    for tree in (score, score["intervals"]):
        assert set(tree["pcp_strict"].values()) == set(tree["pcp_loose"].values()) == {None}
        assert set(tree["pdj"]["0.1"].values()) == set(tree["pdj_auc"].values()) == {None}
    assert "NaN" not in json.dumps(score, allow_nan=False)


def test_a_prediction_that_is_not_finite_is_wrong():
    for value in (np.nan, np.inf):
        pred = FIGURE.copy()
        pred[0, 6] = value
        score = metrics.score(pred, FIGURE, ALL, LSP, resamples=0)
        assert score["pdj"]["0.5"]["wrist"] == score["pdj_auc"]["wrist"] == 50
        assert score["pcp_loose"]["lower_arm"] == 50


def test_a_torso_of_length_zero_counts_and_divides_nothing():
    true = FIGURE.copy()
    true[0, 9] = true[0, 2]
    pred = true.copy()
    pred[0, 6] += 0.1
    score = metrics.score(pred, true, ALL, LSP, resamples=0)
    assert score["pdj"]["0.5"]["wrist"] == score["pdj_auc"]["wrist"] == 50
    assert score["pdj"]["0.5"]["knee"] == score["pdj_auc"]["knee"] == 100


def test_intervals_equal_a_slow_loop_over_resampled_images():
    pred, true, labelled = random_poses(12)
    labelled[:, 13] = False
    labelled[0, 13] = True  # A head top in one image only: some resamples have none.
    result = metrics.score(pred, true, labelled, LSP, resamples=60, seed=3)
    draws = np.random.default_rng(3).multinomial(12, np.full(12, 1 / 12), 60)
    loop = []
    for draw in draws:
        i = np.repeat(np.arange(12), draw)
        loop.append(metrics.score(pred[i], true[i], labelled[i], LSP, resamples=0))

    def compare(found, values):
        if isinstance(found, dict):
            for key in found:
                compare(found[key], [v[key] for v in values])
            return
        known = [v for v in values if v is not None]
        np.testing.assert_allclose(found, np.percentile(known, [2.5, 97.5]), atol=1e-9)

    assert any(v["pcp_strict"]["head"] is None for v in loop)
    compare(result["intervals"], loop)
    low, high = result["intervals"]["pdj"]["0.2"]["total"]
    assert low < result["pdj"]["0.2"]["total"] < high


def test_intervals_have_the_width_of_a_proportion_s():
    # 400 images, one stick right in half of them: the normal 95 % interval is 50 +- 4.9.
    true, labelled = np.repeat(FIGURE, 400, 0), np.ones((400, 14), bool)
    pred = true.copy()
    pred[::2, 13] += 100
    low, high = metrics.score(pred, true, labelled, LSP)["intervals"]["pcp_strict"]["head"]
    assert low == pytest.approx(45.1, abs=0.8)
    assert high == pytest.approx(54.9, abs=0.8)


def test_same_seed_same_intervals():
    arrays = random_poses(20)
    assert metrics.score(*arrays, LSP, seed=1) == metrics.score(*arrays, LSP, seed=1)
    assert metrics.score(*arrays, LSP, seed=1) != metrics.score(*arrays, LSP, seed=2)
    assert "intervals" not in metrics.score(*arrays, LSP, resamples=0)


def test_mean_pose_is_over_labelled_joints():
    joints = np.arange(12.0).reshape(3, 2, 2)
    labelled = np.array([[True, False], [True, False], [False, False]])
    joints[2] = np.nan
    np.testing.assert_array_equal(metrics.mean_pose(joints, labelled), [[2, 3], [np.nan] * 2])


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, t, m: (p[:, :13], t, m), r"pred must be \[n, 14, 2\]"),
        (lambda p, t, m: (p[0], t, m), r"pred must be \[n, 14, 2\]"),
        (lambda p, t, m: (p[:1], t, m), "differ in their images"),
        (lambda p, t, m: (p, t, m[:1]), "differ in their images"),
        (lambda p, t, m: (p, t, m.astype(float)), "labelled must be bool"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        metrics.score(*change(*random_poses(2)), LSP)


@pytest.mark.parametrize("threshold", [0, -0.1, float("nan"), float("inf")])
def test_thresholds_are_positive_numbers(threshold):
    with pytest.raises(ValueError, match="thresholds"):
        metrics.score(FIGURE, FIGURE, ALL, LSP, (0.2, threshold))


def test_pckh_limit_is_a_share_of_the_head_segment():
    # Neck to head top is 2 long: at 0.5 an error of 1 is the limit and belongs to it.
    for dx, found in ((1.0, True), (1.01, False)):
        assert metrics.pckh_correct(moved(6, dx), FIGURE, ALL, LSP, 0.5)[0][0, 6] == found
    score = metrics.score(moved(6, 1.01), FIGURE, ALL, LSP, resamples=0)["pckh"]
    assert (score["0.5"]["wrist"], score["0.5"]["ankle"]) == (50, 100)
    assert score["0.5"]["total"] == pytest.approx(100 * 13 / 14)
    no_head = ALL & (np.arange(14) != 13)
    assert not metrics.pckh_correct(FIGURE, FIGURE, no_head, LSP, 0.5)[1].any()


@pytest.mark.parametrize(
    ("skeleton", "measured", "limbs"),
    [
        (COCO, {"pcp_strict", "pcp_loose", "pdj", "pdj_auc"}, "four_limbs"),
        (MPII, set(metrics.SCORES), "four_limbs"),
        (FLIC, {"pcp_strict", "pcp_loose", "pdj", "pdj_auc"}, "limbs"),
    ],
)
def test_scores_are_those_that_a_skeleton_has_sticks_and_lengths_for(skeleton, measured, limbs):
    true = np.random.default_rng(0).uniform(0, 100, (5, skeleton.num_joints, 2))
    labelled = np.ones(true.shape[:2], bool)
    score = metrics.score(true, true, labelled, skeleton, resamples=20)
    assert {name for name in metrics.SCORES if score[name] is not None} == measured
    assert {n for n in metrics.SCORES if score["intervals"][n] is not None} == measured
    found = metrics.main_scores(score | {"oks": {"ap": 12.5}}, skeleton)
    assert found.pop("oks_ap") == 12.5
    assert set(found.values()) == {100.0}
    assert {"pcp_strict", "pdj_0.2"} <= found.keys()
    assert ("pckh_0.5" in found) == ("pckh" in measured)
    assert score["pcp_strict"][limbs] == 100
    json.dumps(score, allow_nan=False)


def test_without_a_torso_pdj_is_an_error_of_its_own():
    nothing = replace(LSP, torso=None, head=None)
    assert metrics.score(FIGURE, FIGURE, ALL, nothing, resamples=0)["pdj"] is None
    with pytest.raises(ValueError, match="has no torso"):
        metrics.pdj_correct(FIGURE, FIGURE, ALL, nothing, 0.2)
    with pytest.raises(ValueError, match="has no head"):
        metrics.pckh_correct(FIGURE, FIGURE, ALL, nothing, 0.2)
