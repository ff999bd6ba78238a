import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from engine_jax import plots
from engine_jax.errors import UserError
from tests.figures import labels, line_of, some_history

PANELS = ({"accuracy": "Accuracy", "recall": "Recall"}, {"a": "A", "b": "B", "c": "C"})
METRICS = [metric for row in PANELS for metric in row]
FLOOR = {"accuracy": 17.6, "recall": 29.6, "a": 5.0, "b": 18.1, "c": 66.3}


@pytest.mark.parametrize(
    ("length", "start", "end"),
    [(7, "cracked", "cracked"), (6, "crack…", "…acked"), (2, "c…", "…d"), (1, "", "")],
)
def test_a_long_name_is_cut_at_one_end(length, start, end):
    assert plots.shorten("cracked", length, keep="start") == start
    assert plots.shorten("cracked", length) == end


def test_loss_per_step_and_per_epoch():
    per_step, per_epoch = plots.loss_curves(some_history()).axes
    raw, mean = line_of(per_step, "as logged"), line_of(per_step, "mean of 2")
    np.testing.assert_allclose(raw.get_ydata(), 1 / np.arange(1, 101))
    np.testing.assert_allclose(mean.get_xydata()[0], [2, 0.75])
    train = line_of(per_epoch, "train").get_xydata()
    np.testing.assert_array_equal(train[:, 0], np.arange(1, 11))
    np.testing.assert_allclose(train[1], [2, sum(1 / s for s in range(11, 21)) / 10])
    marked = line_of(per_epoch, "lowest validation loss, epoch 4")
    np.testing.assert_array_equal(marked.get_xdata(), [4, 4])
    assert "lowest validation loss, epoch 4" in labels(per_epoch)
    assert per_step.get_yscale() == "log"


def test_a_loss_that_falls_little_has_a_linear_axis():
    rows = [{"step": i, "epoch": i, "train/loss": 1 / i} for i in range(1, 9)]
    assert [ax.get_yscale() for ax in plots.loss_curves(rows).axes] == ["linear", "linear"]


def test_rows_of_a_resumed_run_replace_earlier_ones():
    rows = some_history(epochs=3)
    again = [row | {"train/loss": 5.0} for row in rows if row["step"] > 20 and "train/loss" in row]
    per_step, _ = plots.loss_curves(rows + again).axes
    np.testing.assert_allclose(
        per_step.lines[0].get_ydata(), [*(1 / np.arange(1, 21)), *[5.0] * 10]
    )


@pytest.mark.parametrize("key", ["train/loss", "validation/loss"])
def test_loss_curves_take_one_loss_alone(key):
    rows = [{"step": i, "epoch": i, key: 1.0 + i} for i in range(1, 4)]
    figure = plots.loss_curves([{"step": 0}, *rows])
    assert labels(figure.axes[1])[0] == key.removesuffix("/loss")


def test_curves_bear_a_run_that_diverged():
    rows = [
        {"step": i, "epoch": i, "train/loss": math.nan, "validation/loss": math.nan,
         "test/b": math.nan}
        for i in range(1, 200)
    ]  # fmt: skip
    plots.loss_curves(rows).draw_without_rendering()
    plots.metric_curves(rows, PANELS).draw_without_rendering()


def test_metric_curves_show_splits_baseline_and_chosen_epoch():
    figure = plots.metric_curves(some_history(METRICS), PANELS, FLOOR, "mean", best_epoch=4)
    *first, legend, a, b, c = figure.axes
    expected = ["train", "validation", "test", "mean", "chosen, epoch 4"]
    assert labels(legend) == expected
    titles = PANELS[0] | PANELS[1]
    for ax, (metric, title) in zip((*first, a, b, c), titles.items(), strict=True):
        assert ax.get_title("left") == title
        assert [line.get_label() for line in ax.lines] == expected
        np.testing.assert_array_equal(line_of(ax, "test").get_ydata(), 3.0 * np.arange(1, 11))
        assert line_of(ax, "mean").get_ydata()[0] == FLOOR[metric]
        assert line_of(ax, "mean").get_linestyle() == ":"
        assert line_of(ax, "chosen, epoch 4").get_xdata()[0] == 4
        assert ax.get_ylim()[1] > max(30, FLOOR[metric])


def test_metric_curves_say_what_was_not_measured():
    rows = [{"step": 1, "epoch": 1.0, "train/loss": 1.0, "validation/b": 12.0}]
    figure = plots.metric_curves(rows, PANELS, FLOOR, "mean", best_epoch=1)
    notes = [[text.get_text() for text in ax.texts] for ax in figure.axes]
    assert notes == [["not measured"], ["not measured"], [], ["not measured"], [], ["not measured"]]
    assert labels(figure.axes[2]) == ["validation", "mean", "chosen, epoch 1"]
    figure = plots.metric_curves(rows, PANELS, FLOOR | {"b": None}, "mean", best_epoch=1)
    assert labels(figure.axes[2]) == ["validation", "chosen, epoch 1"]


def test_panels_of_one_row_stand_beside_the_legend():
    figure = plots.metric_curves(some_history(["recall"]), [{"recall": "Recall"}])
    panel, legend = figure.axes
    assert panel.get_title("left") == "Recall"
    assert labels(legend) == ["train", "validation", "test"]
    assert panel.get_position().x1 < legend.get_position().x0


@pytest.mark.parametrize(
    "plot", [plots.loss_curves, lambda history: plots.metric_curves(history, PANELS)]
)
def test_a_history_without_values_is_a_users_error(plot):
    with pytest.raises(UserError, match="no rows"):
        plot([])
    with pytest.raises(UserError, match=r"rows hold epoch, step; a plot needs one of .*train/"):
        plot([{"step": 1, "epoch": 0.1}])


def test_saving_makes_the_same_png_of_the_expected_size(tmp_path):
    def draw(name: str) -> bytes:
        figure = plots.metric_curves(some_history(METRICS), PANELS, FLOOR, "mean", best_epoch=4)
        plots.save(figure, tmp_path / "plots" / name)
        return (tmp_path / "plots" / name).read_bytes()

    assert draw("first.png") == draw("second.png")
    with Image.open(tmp_path / "plots/first.png") as image:
        assert (image.format, image.size) == ("PNG", (1200, 750))
    plots.save(plots.loss_curves(some_history()), tmp_path / "loss.png", dpi=75)
    with Image.open(tmp_path / "loss.png") as image:
        assert image.width == 600


def test_saving_as_anything_but_png_is_a_users_error(tmp_path):
    with pytest.raises(UserError, match=r"plot\.jpg: a plot is saved as \.png, not as \.jpg"):
        plots.save(Figure(), tmp_path / "plot.jpg")
