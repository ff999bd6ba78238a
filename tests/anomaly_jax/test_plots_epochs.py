import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from anomaly_jax import plots
from anomaly_jax.plots.names import display_name, line_styles
from engine_jax.errors import UserError
from engine_jax.plots import INK
from tests.figures import assert_drawn_alike, assert_no_overlap, line_of

GRID = {"0.1": 0.1, "0.15": 0.15, "0.2": 0.2, "0.3": 0.3}
THRESHOLDS = GRID | {"good_only": 0.123, "oracle": 0.181}
MANY = [f"defect_of_a_very_long_name_{i}" for i in range(15)]


def legend_of(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


# Names.


def test_a_grid_of_thresholds_is_shaded_and_the_oracle_alone_is_dashed():
    looks = line_styles(["0.3", "good_only", "0.1", "0.2", "oracle", "other"])
    light = {name: sum(to_rgb(look["color"])) for name, look in looks.items()}
    assert light["0.1"] > light["0.2"] > light["0.3"]
    assert [name for name, look in looks.items() if look["linestyle"] != "-"] == ["oracle"]
    assert looks["oracle"]["color"] == INK
    assert len({look["color"] for look in looks.values()}) == 6
    assert list(looks) == ["0.3", "good_only", "0.1", "0.2", "oracle", "other"]


def test_names_lose_underscores_and_long_ones_their_start():
    assert display_name("good_only") == "good only"
    assert display_name("folder/of/images/007.png", 8) == "…007.png"


# Accuracies.


def some_rates(defects: list[str], epochs: int = 4) -> list[dict[str, float | None]]:
    rows: list[dict[str, float | None]] = [{"step": 1, "epoch": 0.5, "train/loss": 1.0}]
    for epoch in range(1, epochs + 1):
        row: dict[str, float | None] = {"epoch": epoch}
        for defect in defects:
            for name, threshold in THRESHOLDS.items():
                key = f"test/{defect}/{name}"
                row[f"{key}/recall"] = 0.1 * epoch + threshold
                row[f"{key}/precision"] = None if name == "0.3" and epoch == 2 else 0.2 * epoch
                row[f"{key}/accuracy"] = 0.83 + 0.01 * epoch
        rows.append(row)
    return rows


def test_accuracies_are_a_row_for_each_defect_and_a_line_for_each_threshold():
    history = some_rates(["crack", "cut"])
    history.append({**history[-1], "test/cut/0.1/recall": 0.77})  # A resumed run.
    figure = plots.accuracies_by_epoch(history, ["crack", "cut"], list(THRESHOLDS), 3)
    axes = np.reshape(figure.axes, (2, 3))
    assert [ax.get_title("left") for ax in axes[0]] == ["recall, %", "precision, %", "accuracy, %"]
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["crack", "cut"]
    assert [ax.get_xlabel() for ax in axes[:, 0]] == ["", "epoch"]
    np.testing.assert_allclose(
        np.asarray(line_of(axes[0, 0], "0.2").get_xydata()), [(1, 30), (2, 40), (3, 50), (4, 60)]
    )
    cut = line_of(axes[1, 0], "0.1").get_ydata()
    np.testing.assert_allclose(np.asarray(cut), [20, 30, 40, 77])
    for ax in axes.flat:
        assert len(ax.lines) == 7
        assert line_of(ax, "chosen, epoch 3").get_xdata()[0] == 3
    assert axes[0, 0].get_ylim() == pytest.approx((-3, 103))
    assert axes[1, 2].get_ylim() == pytest.approx((79.4, 100.6))  # 84 % is the lowest accuracy.
    assert legend_of(figure) == [*GRID, "good only", "oracle", "chosen, epoch 3"]
    assert line_of(axes[0, 0], "oracle").is_dashed()


def test_an_undefined_rate_is_a_gap_and_what_stands_alone_a_dot():
    history = some_rates(["crack"])
    del history[4]["test/crack/0.3/precision"]  # None at epoch 2, missing at epoch 4.
    _, precision, _ = plots.accuracies_by_epoch(history, ["crack"], list(THRESHOLDS)).axes
    line = line_of(precision, "0.3")
    np.testing.assert_allclose(np.asarray(line.get_ydata()), [20, np.nan, 60, np.nan])
    assert line.get_markevery() == [0, 2]
    assert line_of(precision, "0.2").get_markevery() == []


def test_a_rate_that_is_never_defined_is_said_to_be():
    history = [{"epoch": 1, "test/crack/0.3/recall": 0.0, "test/crack/0.3/precision": None}]
    figure = plots.accuracies_by_epoch(history, ["crack"], ["0.3"])
    said = [[text.get_text() for text in ax.texts] for ax in figure.axes]
    assert said == [[], ["undefined"], ["undefined"]]
    figure.draw_without_rendering()


@pytest.mark.parametrize("defects", [["crack"], MANY])
def test_rows_of_accuracies_are_as_high_however_many(defects):
    figure = plots.accuracies_by_epoch(some_rates(defects), defects, [*THRESHOLDS], 2)
    shown = [ax.yaxis.label for ax in figure.axes[::3]]
    assert_no_overlap(figure, [*shown, *figure.legends[0].get_texts()])
    heights = [ax.get_position().height * figure.get_figheight() for ax in figure.axes]
    assert all(0.9 < height < 1.5 for height in heights)


def test_accuracies_that_are_not_there_are_a_users_error():
    with pytest.raises(UserError, match=r"no row holds .* such as test/crack/0\.1/accuracy"):
        plots.accuracies_by_epoch([{"epoch": 1, "train/loss": 1.0}], ["crack"], ["0.1"])
    with pytest.raises(UserError, match="no row holds"):
        plots.accuracies_by_epoch(some_rates(["crack"]), [], ["0.1"])


def test_accuracies_are_drawn_alike_each_time(tmp_path):
    defects = ["crack", "cut", "hole", "print"]
    history = some_rates(defects)
    assert_drawn_alike(
        lambda: plots.accuracies_by_epoch(history, defects, [*THRESHOLDS], 2), tmp_path
    )
