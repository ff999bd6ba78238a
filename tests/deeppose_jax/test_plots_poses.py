import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from scipy.io import loadmat

from deeppose_jax import plots
from deeppose_jax.skeleton import LSP
from tests.deeppose_jax.poses import limbs, some_images, some_poses
from tests.figures import assert_drawn_alike, assert_no_overlap

LEFT_SHOULDER = 9


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
    figure = plots.pose_grid(some_images(7), true, predicted, labelled, LSP, "Test", names)
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


def test_a_pose_that_collapsed_is_not_hidden_by_the_true_one():
    """The joints' dots, white as the true limbs are, stay whole where these cross them."""
    image, true = np.full((64, 64, 3), 60, np.uint8), some_poses(1)
    start, stop, _ = LSP.limbs[0]
    predicted = np.broadcast_to(true[:, [start, stop]].mean(1, keepdims=True), true.shape)

    def draw(labelled: bool) -> np.ndarray:
        known = np.full((1, 14), labelled)
        figure = plots.pose_grid([image], true, predicted, known, LSP, "Collapsed")
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        x, y = figure.axes[0].transData.transform(predicted[0, 0])
        pixels = np.asarray(canvas.buffer_rgba())[::-1]  # rows upwards, as y
        return pixels[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2]

    np.testing.assert_array_equal(draw(labelled=True), draw(labelled=False))


@pytest.mark.parametrize(("n", "columns"), [(1, 5), (3, 5), (7, 3), (12, 6), (20, 10)])
def test_captions_stay_apart(n, columns):
    names = [f"folder/of/images/with_a_long_name_{i:04d}.jpg" for i in range(n)]
    poses, known = some_poses(n), np.ones((n, 14), bool)
    figure = plots.pose_grid(some_images(n), poses, poses, known, LSP, "Title", names, columns)
    assert_no_overlap(figure, [text for text in figure.texts if text.get_text()])
    left = [ax.get_position().x0 for ax in figure.axes]
    assert len(set(np.round(left, 6))) == min(n, columns)
    if n >= 3:  # Three tiles or more fill the page's width.
        assert max(ax.get_position().x1 for ax in figure.axes) == pytest.approx(1 - min(left))


@pytest.mark.usefixtures("unchecked_shapes")
def test_grids_refuse_what_they_cannot_draw():
    images, poses, known = some_images(2), some_poses(2), np.ones((2, 14), bool)
    with pytest.raises(ValueError, match="no images"):
        plots.pose_grid([], poses[:0], poses[:0], known[:0], LSP, "")
    with pytest.raises(ValueError, match=r"images\[1\] is float64 \(64, 45, 3\), not uint8"):
        plots.pose_grid([images[0], images[1] / 255], poses, poses, known, LSP, "")
    with pytest.raises(ValueError, match=r"predicted has shape \(1, 14, 2\), not \(2, 14, 2\)"):
        plots.pose_grid(images, poses, poses[:1], known, LSP, "")


def test_pose_grid_of_published_predictions(real_data):
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
    figure = plots.pose_grid(
        images, true, pred, np.ones((3, 14), bool), LSP, "LSP", [f"im{i}" for i in ids]
    )
    found = [text.get_text() for text in figure.texts if text.get_text().endswith("%")]
    error = np.hypot(*(pred - true).transpose(2, 0, 1))
    torso = np.hypot(*(true[:, 9] - true[:, 2]).T)
    assert found == [f"PDJ {p:.0f} %" for p in 100 * (error <= 0.2 * torso[:, None]).mean(1)]
    figure.draw_without_rendering()


def test_a_row_shows_the_true_pose_and_then_every_stage():
    true = some_poses(2)
    torso = np.linalg.norm(true[:, 9] - true[:, 2], axis=-1)
    far, near = true.copy(), true.copy()
    far[:, :7, 0] += 0.21 * torso[:, None]  # 7 of 14 joints out of reach
    near[:, :7, 0] += 0.19 * torso[:, None]
    labelled = np.ones((2, 14), bool)
    labelled[1, 13] = False
    figure = plots.stages_row(
        some_images(2), true, [far, near], labelled, LSP, "Stages", names=["a", "b"]
    )
    assert len(figure.axes) == 2 * 3
    assert all(len(ax.images) == 1 for ax in figure.axes)
    # The second image lacks the true head; predicted poses are whole.
    assert [len(limbs(ax)) for ax in figure.axes] == [13, 26, 26, 12, 25, 25]
    for ax, pose in zip(figure.axes[:3], (true, far, near), strict=True):
        start, stop, _ = LSP.limbs[0]
        np.testing.assert_array_equal(limbs(ax)[0].get_xydata(), pose[0, [start, stop]])
        assert len({line.get_color() for line in limbs(ax)[:13]}) == 7
    texts = [text.get_text() for text in figure.texts]
    assert texts[:8] == [
        "Stages", "PDJ: joints within 0.2 torso lengths",
        "a", "true pose", "stage 1", "PDJ 50 %", "stage 2", "PDJ 100 %",
    ]  # fmt: skip
    assert texts[8:] == ["b", "true pose", "stage 1", "PDJ 46 %", "stage 2", "PDJ 100 %"]
    assert_no_overlap(figure, list(figure.texts))


@pytest.mark.parametrize("stages", [1, 3, 5])
def test_rows_are_as_many_as_the_images(stages):
    true, known = some_poses(3), np.ones((3, 14), bool)
    figure = plots.stages_row(some_images(3), true, [true] * stages, known, LSP, "Title")
    corners = [ax.get_position() for ax in figure.axes]
    assert len({round(corner.x0, 6) for corner in corners}) == 1 + stages
    assert len({round(corner.y0, 6) for corner in corners}) == 3
    assert_no_overlap(figure, [text for text in figure.texts if text.get_text()])


def test_stages_that_do_not_fit_are_an_error():
    true, known = some_poses(2), np.ones((2, 14), bool)
    with pytest.raises(ValueError, match="by_stage: no stages"):
        plots.stages_row(some_images(2), true, [], known, LSP, "")
    with pytest.raises(ValueError, match=r"by_stage\[1\] has shape \(1, 14, 2\), not \(2, 14, 2\)"):
        plots.stages_row(some_images(2), true, [true, true[:1]], known, LSP, "")


@pytest.mark.parametrize("kind", ["grid", "row"])
def test_poses_are_drawn_alike_each_time(kind, tmp_path):
    true, known = some_poses(2), np.ones((2, 14), bool)

    def draw() -> Figure:
        if kind == "grid":
            return plots.pose_grid(
                some_images(7), *[some_poses(7)] * 2, np.ones((7, 14), bool), LSP, ""
            )
        return plots.stages_row(some_images(2), true, [true] * 3, known, LSP, "Stages")

    assert_drawn_alike(draw, tmp_path)
