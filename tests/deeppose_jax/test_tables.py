import numpy as np

from deeppose_jax import metrics
from deeppose_jax.skeleton import LSP, make_skeleton
from deeppose_jax.skeletons import FLIC
from deeppose_jax.tables import score_table, stages_table


def test_a_score_that_nobody_labelled_says_so():
    nothing = np.zeros((2, 14), bool)
    score = metrics.score(np.zeros((2, 14, 2)), np.zeros((2, 14, 2)), nothing, LSP)
    assert "not labelled" in score_table(score)


def test_stages_stand_under_the_mean_pose():
    rng = np.random.default_rng(0)
    true, labelled = rng.uniform(0, 100, (5, 14, 2)), np.ones((5, 14), bool)
    scores = [
        metrics.score(true + noise * rng.normal(size=true.shape), true, labelled, LSP)
        for noise in (30, 10, 5)
    ]
    floor, *stages = scores
    stages = [{"stage": number, **score} for number, score in enumerate(stages, 1)]
    head, *rows = stages_table(stages, floor).splitlines()
    assert head.split("  ")[0] == "%"
    assert [row[:9].strip() for row in rows] == ["mean pose", "stage 1", "stage 2"]
    for row, score in zip(rows, scores, strict=True):
        low, high = score["intervals"]["pdj"]["0.2"]["total"]
        assert f"{score['pdj']['0.2']['total']:.1f} [{low:.1f}, {high:.1f}]" in row
        assert f"{score['pcp_strict']['four_limbs']:.1f} [" in row


def test_tables_of_an_upper_body_and_of_anything():
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 100, (5, 11, 2))
    score = metrics.score(true + 3, true, np.ones((5, 11), bool), FLIC, resamples=0)
    score["oks"] = {"ap": 12.5, "ap_large": None}
    text = score_table(score, score)
    assert "lower leg" not in text
    assert "PCKh" not in text
    assert [line.split() for line in text.splitlines() if line.startswith(("limbs", "ap"))] == [
        ["limbs", *(cell for name in ("pcp_strict", "pcp_loose") for cell in twice(score[name]))],
        ["ap", "12.5", "(12.5)"],
        ["ap", "large", "not", "labelled"],
    ]
    head, _, row = stages_table([{"stage": 1, **score}], score, FLIC.limb_parts).splitlines()
    assert "PCP strict" in head
    assert row.endswith("12.5")
    points = make_skeleton(("a", "b"))
    score = metrics.score(true[:, :2], true[:, :2], np.ones((5, 2), bool), points, resamples=20)
    assert score_table(score, score).startswith("[low, high]")
    rows = stages_table([{"stage": 1, **score}], score, points.limb_parts).splitlines()
    assert rows == ["%", "mean pose", "stage 1"]


def twice(parts):
    value = f"{parts['limbs']:.1f}"
    return value, f"({value})"
