import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from deeppose_jax import FLIC, make_skeleton, metrics, plots
from deeppose_jax.plots import scores
from deeppose_jax.skeleton import LSP
from engine_jax.errors import UserError
from engine_jax.plots import FAINT
from tests.deeppose_jax.poses import some_poses
from tests.figures import assert_drawn_alike, assert_no_overlap, labels, line_of, some_history

# Curves.


def test_metrics_by_epoch_are_pcp_then_pdj_over_the_mean_pose():
    titles = scores.METRICS[0] | scores.METRICS[1]
    floor = {"pcp_strict": 17.6, "pcp_loose": 29.6, "pdj_0.1": 5, "pdj_0.2": 18.1, "pdj_0.5": 66.3}
    strict, loose, legend, *pdj = plots.metric_curves(some_history(titles), floor, 4).axes
    assert labels(legend) == ["train", "validation", "test", "mean pose", "chosen, epoch 4"]
    for ax, (metric, title) in zip((strict, loose, *pdj), titles.items(), strict=True):
        assert ax.get_title("left") == title
        assert line_of(ax, "mean pose").get_ydata()[0] == floor[metric]


def test_pdj_lines_are_named_at_their_ends_without_overlap():
    thresholds = np.linspace(0, 0.5, 6)
    curves = {f"stage {i}": (thresholds, thresholds * (140 + i)) for i in (1, 2, 3)}
    reference = {name: (thresholds, thresholds * 199) for name in ("A 2013", "B 2014", "C 2016")}
    figure = plots.pdj_over_thresholds(curves, reference, (thresholds, thresholds * 139))
    (ax,) = figure.axes
    assert len(ax.lines) == 7
    assert {line_of(ax, name).get_color() for name in reference} == {FAINT}
    assert line_of(ax, "mean pose").get_linestyle() == ":"
    assert len({line_of(ax, name).get_color() for name in curves}) == 3
    texts = {text.get_text(): text for text in ax.texts}
    assert set(texts) == {
        "A 2013  100", "B 2014  100", "C 2016  100", "mean pose  70",
        "stage 1  70", "stage 2  71", "stage 3  72",
    }  # fmt: skip
    assert_no_overlap(figure, list(ax.texts))
    heights = [texts[name].xyann[1] for name in ("mean pose  70", "stage 1  70", "stage 2  71")]
    assert heights == sorted(heights)


def test_labels_move_only_where_they_must():
    assert scores._spread([50.0, 10.0], gap=5, top=100).tolist() == [50.0, 10.0]
    np.testing.assert_allclose(scores._spread([30, 30, 80], gap=5, top=100), [27.5, 32.5, 80])
    np.testing.assert_allclose(
        scores._spread([20, 27, 27], gap=5, top=100), 59 / 3 + np.r_[0, 5, 10]
    )
    np.testing.assert_allclose(scores._spread([99, 100, 100], gap=5, top=100), [90, 95, 100])
    np.testing.assert_allclose(scores._spread([1, 0], gap=5, top=100), [5, 0])


def test_a_curve_without_values_is_left_out_and_no_curve_is_a_users_error():
    at, nothing = [0.1, 0.2], [np.nan, np.nan]
    figure = plots.pdj_over_thresholds(
        {"stage 1": (at, nothing)}, {"A": (at, [5, 9])}, (at, [1, 2])
    )
    assert [line.get_label() for line in figure.axes[0].lines] == ["A", "mean pose"]
    for curves in ({}, {"stage 1": (at, nothing)}):
        with pytest.raises(UserError, match="no curve"):
            plots.pdj_over_thresholds(curves)


# Bars.


def some_score(percent: float, spread: float | None = 3.0) -> dict:
    parts = dict.fromkeys(scores.PARTS, percent)
    score = {"pcp_strict": parts, "pcp_loose": dict.fromkeys(scores.PARTS, percent + 10)}
    score["pdj"] = {t: {"total": percent + i} for i, t in enumerate(("0.1", "0.2", "0.5"))}
    if spread is None:
        return score
    low_high = [percent - spread, percent + 2 * spread]
    intervals = {metric: dict.fromkeys(scores.PARTS, low_high) for metric in list(score)[:2]}
    return score | {
        "intervals": intervals | {"pdj": {t: {"total": low_high} for t in score["pdj"]}}
    }


def intervals_of(ax: Axes) -> np.ndarray:
    lines = [c for c in ax.collections if isinstance(c, LineCollection)]
    drawn = [segment[:, 0] for c in lines for segment in c.get_segments() if len(segment)]
    return np.array(drawn)  # [bars, 2]


def test_bars_of_each_stage_bear_intervals_beside_the_dotted_floor():
    stages = [some_score(30.0), some_score(40.0), some_score(42.0)]
    figure = plots.scores_by_stage(stages, some_score(17.5, None))
    strict, loose, pdj, legend = figure.axes
    titles = [ax.get_title("left") for ax in figure.axes]
    assert titles == ["PCP strict", "PCP loose", "PDJ, all joints", ""]
    assert [bar.get_width() for bar in strict.patches] == [30.0] * 7 + [40.0] * 7 + [42.0] * 7
    assert [bar.get_width() for bar in loose.patches] == [40.0] * 7 + [50.0] * 7 + [52.0] * 7
    assert [bar.get_width() for bar in pdj.patches] == [30, 31, 32, 40, 41, 42, 42, 43, 44]
    assert [text.get_text() for text in pdj.get_yticklabels()] == ["at 0.1", "at 0.2", "at 0.5"]
    for ax, count in ((strict, 7), (loose, 7), (pdj, 3)):
        expected = np.repeat([[27, 36], [37, 46], [39, 48]], count, axis=0)
        np.testing.assert_allclose(intervals_of(ax), expected)
        floors = [line for line in ax.lines if line.get_linestyle() == ":"]
        assert len(floors) == count
        # The numbers stand to the right of the intervals.
        assert all(
            text.get_position()[0] > high
            for text, (_, high) in zip(ax.texts, expected, strict=True)
        )
    assert {line.get_xdata()[0] for line in strict.lines if line.get_linestyle() == ":"} == {17.5}
    assert [t.get_text() for t in strict.texts] == ["30.0"] * 7 + ["40.0"] * 7 + ["42.0"] * 7
    assert len({bar.get_facecolor() for bar in strict.patches}) == 3
    found = legend.get_legend()
    assert found is not None
    assert [text.get_text() for text in found.get_texts()] == [
        "stage 1", "stage 2", "stage 3", "95 % interval", "mean pose",
    ]  # fmt: skip
    assert_no_overlap(figure, [*strict.texts, *loose.texts, *pdj.texts])


@pytest.mark.parametrize("stages", [1, 6])
def test_labels_stay_apart_however_many_stages(stages):
    bars = [some_score(100.0, 0.0) for _ in range(stages)]
    for score in bars:
        score["pcp_loose"] = score["pcp_strict"]
    figure = plots.scores_by_stage(bars, some_score(17.5, None))
    texts = [text for ax in figure.axes for text in ax.texts]
    assert len(texts) == 17 * stages
    assert_no_overlap(figure, texts)


def test_real_scores_with_nothing_measured_for_a_part():
    true, labelled = some_poses(20), np.ones((20, 14), bool)
    labelled[:, 13] = False  # No head anywhere: its score and its interval are None.
    score = metrics.score(some_poses(20, seed=1), true, labelled, LSP, resamples=20)
    assert score["pcp_strict"]["head"] is None
    plain = {key: value for key, value in score.items() if key != "intervals"}
    figure = plots.scores_by_stage([score, plain], plain)
    strict, *_ = figure.axes
    widths = [bar.get_width() for bar in strict.patches]
    assert np.isnan(widths).tolist() == ([True] + [False] * 6) * 2
    assert len([line for line in strict.lines if line.get_linestyle() == ":"]) == 6
    assert len(intervals_of(strict)) == 6
    figure.draw_without_rendering()


def test_no_stage_is_a_users_error():
    with pytest.raises(UserError, match="no stages"):
        plots.scores_by_stage([], some_score(1.0))


def test_bars_are_drawn_alike_each_time(tmp_path):
    stages, floor = [some_score(30.0)] * 3, some_score(17.5, None)
    assert_drawn_alike(lambda: plots.scores_by_stage(stages, floor), tmp_path)


def test_what_a_skeleton_has_no_length_or_stick_for_is_not_drawn():
    """An arm without torso, and with COCO's scores."""
    arm = make_skeleton(("shoulder", "elbow", "wrist"))
    true = some_poses(6)[:, :3]
    score = metrics.score(true + 1.0, true, np.ones((6, 3), bool), arm, resamples=20)
    assert [score[name] for name in metrics.SCORES] == [None] * 5
    titles = [ax.get_title("left") for ax in plots.scores_by_stage([score], score).axes]
    assert titles == ["", ""]
    score["oks"] = {"ap": 50.0, "ap50": 70.0, "ap75": None, "ar": 60.0}
    oks, legend = plots.scores_by_stage([score], score).axes
    assert [text.get_text() for text in oks.get_yticklabels()] == list(scores.OKS.values())
    np.testing.assert_array_equal(
        [bar.get_width() for bar in oks.patches], [50.0, 70.0, np.nan, 60.0]
    )
    assert legend.get_legend() is not None
    upper = metrics.score(
        some_poses(6, 1)[:, :11], some_poses(6)[:, :11], np.ones((6, 11), bool), FLIC, resamples=20
    )
    strict, *_ = plots.scores_by_stage([upper], upper).axes
    assert [text.get_text() for text in strict.get_yticklabels()] == [
        "torso", "upper arm", "lower arm", "limbs",
    ]  # fmt: skip


def test_epochs_show_what_was_measured():
    rows = [{"epoch": 1, "test/oks_ap": 3.0}, {"epoch": 2, "test/oks_ap": 5.0}]
    assert plots.measured(rows) == ({"oks_ap": "OKS AP"},)
    assert plots.measured([{"epoch": 1, "validation/loss": 3.0}]) == ()
    ax, legend = plots.metric_curves(rows, {"oks_ap": 1.0}, 2).axes
    assert (ax.get_title("left"), labels(legend)) == (
        "OKS AP",
        ["test", "mean pose", "chosen, epoch 2"],
    )
