import numpy as np

from anomaly_jax import metrics, tables
from anomaly_jax.groups import count_groups


def score(resamples=20):
    maps = np.zeros((4, 2, 2))
    masks = np.zeros((4, 2, 2), bool)
    masks[2:, 0, 0] = True
    maps[2, 0, 0], maps[3, 1, 1] = 0.9, 0.4
    grouped = count_groups(
        maps,
        masks,
        maps.max((1, 2)),
        ["good", "good", "hole", "long_scratch"],
        has_mask=np.array([True, True, True, False]),
    )
    pixel = {"0.2": 0.2, "good_only": 0.5}
    return metrics.score(grouped, pixel, {"good_only": 0.5}, resamples=resamples)


def test_a_line_for_each_defect_and_one_for_all():
    lines = tables.ranking_table(score(), "good_only").splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == ["hole", "long_scratch", "all"]
    hole, scratch = lines[1].split(), lines[2].split()
    assert hole[1] == "3"
    assert hole[2] == "100.0"
    # A defect without masks has no scores of pixels.
    assert scratch[2:7] == ["-"] * 5
    assert "[" in lines[1]
    assert "[" not in tables.ranking_table(score(resamples=0), "good_only").splitlines()[1]


def test_accuracies_stand_under_their_thresholds():
    head, hole, scratch, _ = tables.accuracy_table(score(), ["0.2", "good_only"]).splitlines()
    at = head.index("0.2")
    assert hole[at:].split("  ")[0] == "100 / 100 / 100"
    assert scratch[at:].split("  ")[0] == "- / - / -"
