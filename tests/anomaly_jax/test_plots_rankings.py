import numpy as np
import pytest
from matplotlib.lines import Line2D

from anomaly_jax import curves, plots
from engine_jax.errors import UserError
from engine_jax.plots import INK
from tests.figures import assert_drawn_alike, assert_no_overlap, labels, line_of

MANY = [f"defect_of_a_very_long_name_{i}" for i in range(15)]


def some_table(good: int = 200, faulty: int = 50, shift: float = 1.0, regions: bool = True):
    draw = np.random.default_rng(0)
    masks = np.arange(good + faulty)[None, None] >= good
    scores = draw.normal(size=masks.shape) + shift * masks
    return curves.count_at_thresholds(
        scores, masks, curves.region_weights(masks) if regions else None
    )


def area_under(line: Line2D, right: float = 1.0) -> float:
    """Of straight lines, or of the steps that are drawn."""
    x, y = (np.asarray(values, float) for values in line.get_data())
    if line.get_drawstyle() == "steps-pre":
        return float(np.sum(np.diff(x) * y[1:]))
    inside = np.linspace(0, right, 100_001)
    return float(np.mean(np.interp(inside, x, y)))


def test_curves_have_the_areas_that_stand_beneath():
    tables = {"crack": some_table(shift=2), "all": some_table()}
    figure = plots.ranking_curves(tables)
    panels, below = figure.axes[:3], figure.axes[3:]
    titles = [ax.get_title("left") for ax in panels]
    assert titles == ["ROC", "Per-region overlap", "Precision-recall"]
    assert [ax.get_legend().get_title().get_text() for ax in below] == [
        "AUROC", "AUPRO", "average precision",
    ]  # fmt: skip
    assert panels[1].get_xlim() == pytest.approx((-0.003, 0.303))
    functions = (curves.auroc, curves.aupro, curves.average_precision)
    chance = ("0.500  chance", "0.150  chance", "0.200  chance, all")
    for ax, under, function, right, last in zip(
        panels, below, functions, (1, 0.3, 1), chance, strict=True
    ):
        areas = {name: function(table) for name, table in tables.items()}
        for name in tables:
            assert area_under(line_of(ax, name), right) == pytest.approx(areas[name], abs=1e-3)
        wanted = [f"{areas['all']:.3f}  all", f"{areas['crack']:.3f}  crack", last]
        assert labels(under) == wanted
        assert line_of(ax, "all").get_color() == INK
        x, y = (np.asarray(values) for values in line_of(ax, "chance").get_data())
        assert f"{y.mean() if last.endswith('all') else np.mean(x):.3f}" == last[:5]


def test_images_have_no_overlap():
    figure = plots.ranking_curves({"all": some_table(regions=False)})
    assert [ax.get_title("left") for ax in figure.axes[:2]] == ["ROC", "Precision-recall"]
    assert len(figure.axes) == 4


def test_a_large_table_is_thinned_and_its_area_is_exact():
    table = some_table(20_000, 5_000)
    figure = plots.ranking_curves({"crack": table})
    for ax in figure.axes[:3]:
        assert 500 < len(line_of(ax, "crack").get_xdata()) <= 2003
    assert labels(figure.axes[3])[0] == f"{curves.auroc(table):.3f}  crack"


@pytest.mark.parametrize(("good", "faulty"), [(0, 3), (3, 0), (0, 0)])
def test_without_good_or_faulty_scores_there_is_no_curve(good, faulty):
    figure = plots.ranking_curves({"all": some_table(good, faulty)})
    for ax, below in zip(figure.axes[:3], figure.axes[3:], strict=True):
        assert [line.get_label() for line in ax.lines if line.get_label() != "chance"] == []
        assert [text.get_text() for text in ax.texts] == ["undefined"]
        assert labels(below)[0].split() == ["-", "all"]
    figure.draw_without_rendering()


def test_many_defects_look_different_and_are_named():
    tables = {"all": some_table()} | {name: some_table() for name in MANY}
    figure = plots.ranking_curves(tables)
    roc = figure.axes[0]
    looks = {(line_of(roc, n).get_color(), str(line_of(roc, n)._dash_pattern)) for n in MANY}
    assert len(looks) == 15
    shown = [text for below in figure.axes[3:] for text in below.get_legend().get_texts()]
    assert len(shown) == 3 * 17
    assert_no_overlap(figure, [*shown, *[ax.xaxis.label for ax in figure.axes[:3]]])


def test_no_counts_are_a_users_error():
    with pytest.raises(UserError, match="no counts"):
        plots.ranking_curves({})


def test_curves_are_drawn_alike_each_time(tmp_path):
    tables = dict.fromkeys(["all", *MANY], some_table())
    assert_drawn_alike(lambda: plots.ranking_curves(tables), tmp_path)
