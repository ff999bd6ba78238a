import math

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from scipy.io import loadmat

from deeppose_jax import plots, plots_poses
from deeppose_jax.skeleton import LSP
from engine_jax.errors import UserError

RIGHT_KNEE, LEFT_SHOULDER = 1, 9
FLOOR = {"pcp_strict": 17.6, "pcp_loose": 29.6, "pdj_0.1": 5.0, "pdj_0.2": 18.1, "pdj_0.5": 66.3}


def some_poses(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(5, 60, (n, 14, 2))


def some_images(n: int, seed: int = 0) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return [draw.integers(0, 256, (64, 40 + 5 * i, 3), dtype=np.uint8) for i in range(n)]


def empty_axes() -> Axes:
    ax = Figure().add_subplot()
    ax.set(xlim=(0, 64), ylim=(64, 0))
    return ax


def limbs(ax: Axes) -> list:
    return [line for line in ax.lines if line.get_linestyle() != "None"]


def labels(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def assert_no_overlap(figure: Figure, texts: list) -> None:
    figure.draw_without_rendering()
    # Of the words: an annotation's own extent takes in its line.
    boxes = [Text.get_window_extent(text) for text in texts]
    for i, box in enumerate(boxes):
        assert 0 <= box.x0 <= box.x1 <= figure.bbox.width, texts[i]
        for j in range(i):
            assert not box.overlaps(boxes[j]), (texts[i], texts[j])


# Skeletons.


def test_limb_colours_are_warm_on_the_right_and_cool_on_the_left():
    colours = plots_poses.limb_colours(LSP)
    by_limb = {}
    for (start, stop, side), colour in zip(LSP.limbs, colours, strict=True):
        red, _, blue = to_rgb(colour)
        if side != "centre":
            assert (red > blue) == (side == "right")
        by_limb[start, stop] = colour
    arm, trunk, leg = by_limb[6, 7], by_limb[2, 8], by_limb[0, 1]
    assert arm == by_limb[7, 8]
    assert leg == by_limb[1, 2]
    assert len({arm, trunk, leg}) == 3


def test_skeleton_draws_each_limb_between_its_joints():
    ax, joints = empty_axes(), some_poses(1)[0]
    plots_poses.draw_skeleton(ax, joints, np.ones(14, bool), LSP)
    drawn = limbs(ax)
    assert len(drawn) == 13
    for line, (start, stop, _), colour in zip(
        drawn, LSP.limbs, plots_poses.limb_colours(LSP), strict=True
    ):
        np.testing.assert_array_equal(line.get_xydata(), joints[[start, stop]])
        assert line.get_color() == colour
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 64), (64, 0))


@pytest.mark.parametrize("how", ["unlabelled", "not finite"])
def test_skeleton_leaves_out_unknown_joints_and_their_limbs(how):
    ax, joints, labelled = empty_axes(), some_poses(1)[0], np.ones(14, bool)
    knee = joints[RIGHT_KNEE].copy()
    if how == "unlabelled":
        labelled[RIGHT_KNEE] = False
    else:
        joints[RIGHT_KNEE] = np.nan
    plots_poses.draw_skeleton(ax, joints, labelled, LSP)
    assert len(limbs(ax)) == 13 - 2
    points = np.concatenate([line.get_xydata() for line in ax.lines])
    assert np.isfinite(points).all()
    assert not (points == knee).all(-1).any()
    (dots,) = (line for line in ax.lines if line.get_linestyle() == "None")
    assert len(dots.get_xdata()) == 13


def test_skeleton_of_one_colour_has_no_dots():
    ax = empty_axes()
    plots_poses.draw_skeleton(
        ax, some_poses(1)[0], np.ones(14, bool), LSP, colour="white", style="--"
    )
    assert [to_hex(line.get_color()) for line in ax.lines] == ["#ffffff"] * 13


def test_skeleton_of_another_size_is_an_error():
    with pytest.raises(ValueError, match=r"joints \(16, 2\).*takes \(14, 2\)"):
        plots_poses.draw_skeleton(empty_axes(), np.zeros((16, 2)), np.ones(16, bool), LSP)


# Grids.


def test_pose_grid_draws_and_scores_each_image():
    true = some_poses(7)
    labelled = np.ones((7, 14), bool)
    predicted = true.copy()
    torso = np.linalg.norm(true[0, 9] - true[0, 2])
    predicted[0, :4] += [0.21 * torso, 0]  # 4 of 14 joints out of reach.
    predicted[0, 4:6] += [0, 0.19 * torso]  # Two that are not.
    labelled[0, 13] = False
    labelled[1, LEFT_SHOULDER] = False
    names = [f"im{i}" for i in range(7)]
    figure = plots_poses.pose_grid(some_images(7), true, predicted, labelled, LSP, "Test", names)
    assert len(figure.axes) == 7
    assert all(len(ax.images) == 1 for ax in figure.axes)
    # Of true limbs, the first image lacks the head, the second the three at the left shoulder.
    assert [len(limbs(ax)) for ax in figure.axes] == [25, 23, 26, 26, 26, 26, 26]
    texts = [text.get_text() for text in figure.texts]
    assert texts[:6] == [
        "Test", "PDJ: joints within 0.2 torso lengths", "im0", "PDJ 69 %", "im1", "no torso",
    ]  # fmt: skip
    assert texts[6:] == [t for i in range(2, 7) for t in (f"im{i}", "PDJ 100 %")]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "right arm, trunk, leg", "left arm, trunk, leg", "head", "true pose",
    ]  # fmt: skip


@pytest.mark.parametrize(("n", "columns"), [(1, 5), (3, 5), (7, 3), (12, 6), (20, 10)])
def test_captions_stay_apart(n, columns):
    names = [f"folder/of/images/with_a_long_name_{i:04d}.jpg" for i in range(n)]
    poses, known = some_poses(n), np.ones((n, 14), bool)
    figure = plots_poses.pose_grid(
        some_images(n), poses, poses, known, LSP, "Title", names, columns
    )
    assert_no_overlap(figure, [text for text in figure.texts if text.get_text()])
    left = [ax.get_position().x0 for ax in figure.axes]
    assert len(set(np.round(left, 6))) == min(n, columns)
    if n >= 3:  # Three tiles or more fill the page's width.
        assert max(ax.get_position().x1 for ax in figure.axes) == pytest.approx(1 - min(left))


def test_samples_grid_leaves_out_unlabelled_joints():
    labelled = np.ones((4, 14), bool)
    labelled[3] = False
    figure = plots_poses.samples_grid(some_images(4), some_poses(4), labelled, LSP)
    assert [len(limbs(ax)) for ax in figure.axes] == [13, 13, 13, 0]


def test_grids_refuse_what_they_cannot_draw():
    images, poses, known = some_images(2), some_poses(2), np.ones((2, 14), bool)
    with pytest.raises(ValueError, match="no images"):
        plots_poses.samples_grid([], poses[:0], known[:0], LSP)
    with pytest.raises(ValueError, match=r"images\[1\] is float64 \(64, 45, 3\), not uint8"):
        plots_poses.samples_grid([images[0], images[1] / 255], poses, known, LSP)
    with pytest.raises(ValueError, match=r"predicted has shape \(1, 14, 2\), not \(2, 14, 2\)"):
        plots_poses.pose_grid(images, poses, poses[:1], known, LSP, "")


def test_pose_grid_of_published_predictions(real_data, tmp_path):
    ids = [1001, 1022, 1041]
    images = []
    for i in ids:
        with Image.open(real_data / f"lsp/images/im{i}.jpg") as image:
            images.append(np.asarray(image))
    rows = np.array(ids) - 1
    true = loadmat(real_data / "lsp/joints.mat")["joints"][:2, :, rows].transpose(2, 1, 0) - 1
    folder = real_data / "published/YangCVPR16"
    pred = loadmat(folder / "pred_keypoints_lsp_pc.mat")["pred"][:, :, rows - 1000]
    pred = pred.transpose(2, 1, 0) - 1
    figure = plots_poses.pose_grid(
        images, true, pred, np.ones((3, 14), bool), LSP, "LSP", [f"im{i}" for i in ids]
    )
    found = [text.get_text() for text in figure.texts if text.get_text().endswith("%")]
    error = np.hypot(*(pred - true).transpose(2, 0, 1))
    torso = np.hypot(*(true[:, 9] - true[:, 2]).T)
    assert found == [f"PDJ {p:.0f} %" for p in 100 * (error <= 0.2 * torso[:, None]).mean(1)]
    plots.save(figure, tmp_path / "poses.png")


# Curves.


def some_history(epochs: int = 10, steps: int = 10) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []
    for step in range(1, epochs * steps + 1):
        rows.append({"step": step, "epoch": step / steps, "train/loss": 1 / step})
        if step % steps == 0:
            epoch = step // steps
            row = {"step": step, "epoch": epoch, "validation/loss": 0.2 + 0.01 * (epoch - 4) ** 2}
            for split in ("train", "validation", "test"):
                row |= {f"{split}/{metric}": 3.0 * epoch for metric in plots.METRICS}
            rows.append(row)
    return rows


def line_of(ax: Axes, label: str):
    (line,) = (line for line in ax.lines if line.get_label() == label)
    return line


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
         "test/pdj_0.2": math.nan}
        for i in range(1, 200)
    ]  # fmt: skip
    plots.loss_curves(rows).draw_without_rendering()
    plots.metric_curves(rows).draw_without_rendering()


def test_metric_curves_show_splits_floor_and_chosen_epoch():
    figure = plots.metric_curves(some_history(), FLOOR, best_epoch=4)
    strict, loose, legend, *pdj = figure.axes
    expected = ["train", "validation", "test", "mean pose", "chosen, epoch 4"]
    assert labels(legend) == expected
    for ax, (metric, title) in zip((strict, loose, *pdj), plots.METRICS.items(), strict=True):
        assert ax.get_title("left") == title
        assert [line.get_label() for line in ax.lines] == expected
        np.testing.assert_array_equal(line_of(ax, "test").get_ydata(), 3.0 * np.arange(1, 11))
        assert line_of(ax, "mean pose").get_ydata()[0] == FLOOR[metric]
        assert line_of(ax, "mean pose").get_linestyle() == ":"
        assert line_of(ax, "chosen, epoch 4").get_xdata()[0] == 4
        assert ax.get_ylim()[1] > max(30, FLOOR[metric])


def test_metric_curves_say_what_was_not_measured():
    rows = [{"step": 1, "epoch": 1.0, "train/loss": 1.0, "validation/pdj_0.2": 12.0}]
    figure = plots.metric_curves(rows, FLOOR, best_epoch=1)
    notes = [[text.get_text() for text in ax.texts] for ax in figure.axes]
    assert notes == [["not measured"], ["not measured"], [], ["not measured"], [], ["not measured"]]
    assert labels(figure.axes[2]) == ["validation", "mean pose", "chosen, epoch 1"]


@pytest.mark.parametrize("plot", [plots.loss_curves, plots.metric_curves])
def test_a_history_without_values_is_a_users_error(plot):
    with pytest.raises(UserError, match="no rows"):
        plot([])
    with pytest.raises(UserError, match=r"rows hold epoch, step; a plot needs one of .*train/"):
        plot([{"step": 1, "epoch": 0.1}])


# Scores.


def test_pdj_lines_are_named_at_their_ends_without_overlap():
    thresholds = np.linspace(0, 0.5, 6)
    curves = {f"stage {i}": (thresholds, thresholds * (140 + i)) for i in (1, 2, 3)}
    reference = {name: (thresholds, thresholds * 199) for name in ("A 2013", "B 2014", "C 2016")}
    figure = plots.pdj_over_thresholds(curves, reference, (thresholds, thresholds * 139))
    (ax,) = figure.axes
    assert len(ax.lines) == 7
    assert {line_of(ax, name).get_color() for name in reference} == {plots.FAINT}
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
    assert plots._spread([50.0, 10.0], gap=5, top=100).tolist() == [50.0, 10.0]
    np.testing.assert_allclose(plots._spread([30, 30, 80], gap=5, top=100), [27.5, 32.5, 80])
    np.testing.assert_allclose(
        plots._spread([20, 27, 27], gap=5, top=100), 59 / 3 + np.r_[0, 5, 10]
    )
    np.testing.assert_allclose(plots._spread([99, 100, 100], gap=5, top=100), [90, 95, 100])
    np.testing.assert_allclose(plots._spread([1, 0], gap=5, top=100), [5, 0])


def test_no_curve_is_a_users_error():
    with pytest.raises(UserError, match="no curve"):
        plots.pdj_over_thresholds({})


# Files.


def test_saving_makes_the_same_png_of_the_expected_size(tmp_path):
    def draw(name: str) -> bytes:
        figure = plots.metric_curves(some_history(), FLOOR, best_epoch=4)
        plots.save(figure, tmp_path / "plots" / name)
        return (tmp_path / "plots" / name).read_bytes()

    assert draw("first.png") == draw("second.png")
    with Image.open(tmp_path / "plots/first.png") as image:
        assert (image.format, image.size) == ("PNG", (1200, 750))
    poses, known = some_poses(2), np.ones((2, 14), bool)
    grid = plots_poses.pose_grid(some_images(2), poses, poses, known, LSP, "Two")
    plots.save(grid, tmp_path / "grid.png", dpi=75)
    with Image.open(tmp_path / "grid.png") as image:
        assert image.width == 600


def test_saving_as_anything_but_png_is_a_users_error(tmp_path):
    with pytest.raises(UserError, match=r"plot\.jpg: a plot is saved as \.png, not as \.jpg"):
        plots.save(Figure(), tmp_path / "plot.jpg")
