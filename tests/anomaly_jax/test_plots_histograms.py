import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch

from anomaly_jax import plots
from anomaly_jax.plots import histograms
from engine_jax.errors import UserError
from tests.figures import assert_drawn_alike, assert_no_overlap

THRESHOLDS = {"0.1": 0.1, "0.15": 0.15, "0.2": 0.2, "0.3": 0.3, "good_only": 0.123, "oracle": 0.181}
MANY = [f"defect_of_a_very_long_name_{i}" for i in range(15)]


def legend_of(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


GOOD = {"held-out good": np.array([0.05, 0.06, 0.06, 0.1]), "test good": np.array([0.07, 0.08])}
FAULTY = {"crack": np.array([0.08, 0.2, 0.25]), "bent_lead": np.array([0.4])}


def bars(ax: Axes) -> list[StepPatch]:
    return [patch for patch in ax.patches if isinstance(patch, StepPatch)]


def threshold_lines(figure: Figure) -> dict[str, Line2D]:
    return {str(a.get_label()): a for a in figure.artists if isinstance(a, Line2D)}


def row_names(figure: Figure) -> list[tuple[str, str]]:
    said = [
        [text.get_text() for text in ax.texts if text.get_text() != "none"] for ax in figure.axes
    ]
    return [(name, count) for name, count in said]


def test_each_group_is_a_row_of_parts_over_one_axis():
    figure = plots.score_histograms(GOOD, FAULTY, THRESHOLDS, "image")
    groups = [*GOOD.values(), *FAULTY.values()]
    for ax, scores, good in zip(figure.axes, groups, (True, True, False, False), strict=True):
        filled, *outline = bars(ax)
        values, edges, _ = filled.get_data()
        assert values.sum() == pytest.approx(100)
        for score in np.unique(scores):
            bin_of = np.searchsorted(edges, score, "right") - 1
            bin_of = min(bin_of, len(values) - 1)
            assert values[bin_of] >= 100 * np.mean(scores == score) - 1e-9
        colour = histograms.GOOD if good else histograms.FAULTY
        assert to_hex(filled.get_facecolor()) == colour.lower()
        if good:
            assert not outline
        else:  # The test's good images, behind.
            np.testing.assert_array_equal(
                outline[0].get_data().values, bars(figure.axes[1])[0].get_data().values
            )
    assert len({ax.get_xlim() for ax in figure.axes}) == 1
    assert row_names(figure) == [
        ("held-out good", "4 images"), ("test good", "2 images"),
        ("crack", "3 images"), ("bent lead", "1 image"),
    ]  # fmt: skip
    assert figure.axes[-1].get_xlabel() == "image score"
    assert legend_of(figure) == ["good", "faulty", "test good"]


def test_thresholds_are_named_lines_through_all_rows():
    figure = plots.score_histograms(GOOD, FAULTY, THRESHOLDS, "image")
    lines = threshold_lines(figure)
    assert {n: line.get_xdata()[0] for n, line in lines.items()} == THRESHOLDS
    assert [name for name, line in lines.items() if line.is_dashed()] == ["oracle"]
    named = {text.get_text(): text for text in figure.texts}
    assert {"0.1", "0.15", "0.2", "0.3", "good only, 0.123", "oracle, 0.181"} < set(named)
    for line in lines.values():
        low, high = line.get_ydata()
        assert low == figure.axes[-1].get_position().y0
        assert high > figure.axes[0].get_position().y1
    assert_no_overlap(figure, [text for text in figure.texts if text.get_text()])
    # A name beside its line is crossed by none: lines further right end lower.
    heights = [lines[n].get_ydata()[1] for n in sorted(THRESHOLDS, key=lambda n: THRESHOLDS[n])]
    assert heights == sorted(heights, reverse=True)


def test_the_axis_reaches_to_thresholds_that_no_score_reaches():
    thresholds = {"0.001": 0.001, "0.9": 0.9}
    ax = plots.score_histograms(GOOD, FAULTY, thresholds, "image").axes[0]
    low, high = ax.get_xlim()
    assert low < 0.001 < 0.9 < high
    assert high < 0.95


def test_parts_of_pixels_are_logarithmic_down_to_a_single_one():
    draw = np.random.default_rng(0)
    good, faulty = {"test good": draw.random(1000)}, {"crack": 2 * draw.random(50)}
    figure = plots.score_histograms(good, faulty, {"0.3": 0.3}, "pixel")
    for ax in figure.axes:
        assert ax.get_yscale() == "log"
        assert ax.get_ylim()[0] < 100 / 1000
    assert row_names(figure) == [("test good", "1,000 pixels"), ("crack", "50 pixels")]
    assert figure.axes[-1].get_xlabel() == "pixel score"
    figure.draw_without_rendering()


@pytest.mark.parametrize("level", ["image", "pixel"])
@pytest.mark.parametrize(
    ("good", "faulty"),
    [
        ({"test good": np.zeros(0)}, FAULTY),
        (GOOD | {"test good": np.zeros(0)}, FAULTY),
        (GOOD, {}),
        ({}, {"crack": np.array([0.2])}),
        ({"test good": np.zeros(3)}, {"crack": np.zeros(3), "cut": np.zeros(0)}),
        (GOOD, dict.fromkeys(MANY, np.array([0.1, 0.2]))),
    ],
)
def test_histograms_bear_groups_that_are_empty_alone_constant_or_many(level, good, faulty):
    thresholds = {"a_threshold_of_a_very_long_name": 0.4, "oracle": 0.4}
    figure = plots.score_histograms(good, faulty, thresholds, level)
    for ax, scores in zip(figure.axes, [*good.values(), *faulty.values()], strict=True):
        said = [text.get_text() for text in ax.texts]
        assert ("none" in said) == (len(scores) == 0)
    written_down = [text for ax in figure.axes for text in ax.texts]
    assert_no_overlap(figure, [*figure.texts, *written_down])
    behind = [name for name, scores in good.items() if len(scores)]
    wanted = ["good"] * bool(good) + ["faulty"] * bool(faulty)
    assert legend_of(figure) == wanted + behind[-1:] * bool(faulty)


def test_histograms_refuse_what_they_cannot_draw():
    draw = plots.score_histograms
    with pytest.raises(UserError, match="no scores"):
        draw({"test good": np.zeros(0)}, {}, THRESHOLDS, "image")
    with pytest.raises(ValueError, match="not finite"):
        draw({"test good": np.array([np.inf])}, {}, THRESHOLDS, "image")
    with pytest.raises(ValueError, match="not finite"):
        draw(GOOD, FAULTY, {"oracle": np.nan}, "image")
    with pytest.raises(ValueError, match="level: 'picture'; accepted: image, pixel"):
        draw(GOOD, FAULTY, THRESHOLDS, "picture")  # pyright: ignore[reportArgumentType]


def test_histograms_are_drawn_alike_each_time(tmp_path):
    assert_drawn_alike(lambda: plots.score_histograms(GOOD, FAULTY, THRESHOLDS, "image"), tmp_path)


def test_scores_far_below_a_threshold_have_as_many_bins():
    figure = plots.score_histograms({"good": np.full(5, 1e-9)}, {}, {"0.3": 0.3}, "pixel")
    values, edges, _ = bars(figure.axes[0])[0].get_data()
    assert len(edges) == histograms.BINS["pixel"] + 1
    assert values.max() == 100
