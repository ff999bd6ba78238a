from dataclasses import replace

import numpy as np

from anomaly_jax import metrics, tables
from anomaly_jax.config import ThresholdConfig
from anomaly_jax.groups import count_groups
from anomaly_jax.thresholds import promise


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
        thresholds=(0.2, 0.5),
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


def test_columns_of_f1_say_whose_they_are():
    head = tables.ranking_table(score(), "good_only").splitlines()[0]
    columns = [column for column in head.split("  ") if column]
    assert [column.strip() for column in columns[5:]] == [
        "pixel F1 good_only",
        "oracle",
        "image AUROC",
        "image F1 good_only",
        "oracle",
    ]


def test_wrong_decisions_are_counted_in_images():
    rows = [line.split() for line in tables.decision_table(score(), "good_only").splitlines()]
    assert [row[-3:] for row in rows[1:]] == [
        ["0", "2", "0.0"],  # of the good ones
        ["0", "1", "0.0"],  # of hole, whose score is 0.9
        ["1", "1", "100.0"],  # of long_scratch: 0.4
    ]


def test_the_promise_in_words():
    held_out = ThresholdConfig(grid=(), pixel=0.002, image=0.05)
    enough = tables.promise_lines(promise(40, 0.05), held_out)
    assert "from 40 held-out good images" in enough
    assert "4.9 % [0.6, 13.2]" in enough
    assert "more than 0.20 % of the pixels" in enough
    assert "warning" not in enough
    few = tables.promise_lines(promise(3, 0.05), held_out)
    assert "25.0 %" in few
    assert few.endswith("3 images can't promise the 5.0 % that was asked for: that takes 19 images")
    assert tables.promise_lines(promise(3, 0), held_out).endswith("no number of images can")
    cross_fit = replace(held_out, calibration="cross_fit")
    single = tables.promise_lines(promise(40, 0.05), cross_fit)
    assert "each scored by the member" in single
    assert "or fewer" not in single
    averaged = tables.promise_lines(promise(40, 0.05), cross_fit, averaged=True)
    assert "or fewer: a new image's map is the members' mean" in averaged


def test_accuracies_stand_under_their_thresholds():
    head, hole, scratch, _ = tables.accuracy_table(score(), ["0.2", "good_only"]).splitlines()
    at = head.index("0.2")
    assert hole[at:].split("  ")[0] == "100 / 100 / 100"
    assert scratch[at:].split("  ")[0] == "- / - / -"
