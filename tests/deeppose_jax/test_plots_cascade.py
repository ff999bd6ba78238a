from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation, Text
from PIL import Image

from deeppose_jax import metrics, plots, plots_cascade
from deeppose_jax.skeleton import LSP
from engine_jax.errors import UserError

RIGHT_ANKLE, RIGHT_WRIST, LEFT_WRIST, NECK = 0, 6, 11, 12
SIZE = 32  # pixels of a crop


def some_poses(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(5, 60, (n, 14, 2))


def some_images(n: int) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.integers(0, 256, (64, 40 + 5 * i, 3), dtype=np.uint8) for i in range(n)]


def limbs(ax: Axes) -> list[Line2D]:
    return [line for line in ax.lines if line.get_linestyle() != "None"]


def marked(ax: Axes, look: dict) -> list[Line2D]:
    """The markers of one kind: those of the refined joints have a fill, the others are white."""
    white = look.get("color") == "white"
    return [
        line
        for line in ax.lines
        if line.get_marker() == look["marker"] and (line.get_color() == "white") == white
    ]


def arrows(ax: Axes) -> list[Annotation]:
    return [text for text in ax.texts if isinstance(text, Annotation)]


def legend_of(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def assert_no_overlap(figure: Figure, texts: list) -> None:
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in texts]
    for i, box in enumerate(boxes):
        assert 0 <= box.x0 <= box.x1 <= figure.bbox.width, texts[i]
        for j in range(i):
            assert not box.overlaps(boxes[j]), (texts[i], texts[j])


def test_a_joint_has_the_side_of_its_limbs():
    sides = dict(zip(LSP.joints, plots_cascade.joint_sides(LSP), strict=True))
    assert sides.pop("neck") == sides.pop("head_top") == "centre"
    assert all(name.startswith(side) for name, side in sides.items())
    few = replace(LSP, limbs=((0, 1, "left"), (1, 2, "right")))
    assert plots_cascade.joint_sides(few) == ["left", "centre", "right"] + ["centre"] * 11


# Stages.


def test_a_row_shows_the_true_pose_and_then_every_stage():
    true = some_poses(2)
    torso = np.linalg.norm(true[:, 9] - true[:, 2], axis=-1)
    far, near = true.copy(), true.copy()
    far[:, :7, 0] += 0.21 * torso[:, None]  # 7 of 14 joints out of reach
    near[:, :7, 0] += 0.19 * torso[:, None]
    labelled = np.ones((2, 14), bool)
    labelled[1, 13] = False
    figure = plots_cascade.stages_row(
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
    figure = plots_cascade.stages_row(some_images(3), true, [true] * stages, known, LSP, "Title")
    corners = [ax.get_position() for ax in figure.axes]
    assert len({round(corner.x0, 6) for corner in corners}) == 1 + stages
    assert len({round(corner.y0, 6) for corner in corners}) == 3
    assert_no_overlap(figure, [text for text in figure.texts if text.get_text()])


def test_stages_that_do_not_fit_are_an_error():
    true, known = some_poses(2), np.ones((2, 14), bool)
    with pytest.raises(ValueError, match="by_stage: no stages"):
        plots_cascade.stages_row(some_images(2), true, [], known, LSP, "")
    with pytest.raises(ValueError, match=r"by_stage\[1\] has shape \(1, 14, 2\), not \(2, 14, 2\)"):
        plots_cascade.stages_row(some_images(2), true, [true, true[:1]], known, LSP, "")


# Crops.


def draw_crops(**changes) -> Figure:
    draw = np.random.default_rng(0)
    arguments = {
        "crops": draw.random((14, SIZE, SIZE, 3)),
        "predicted": np.tile([0.1, -0.2], (14, 1)),
        "true": np.tile([0.3, 0.4], (14, 1)),
        "labelled": np.ones(14, bool),
    }
    return plots_cascade.refiner_crops(**(arguments | changes), skeleton=LSP, title="Crops")


def test_a_crop_shows_previous_refined_and_true_joint():
    figure = draw_crops()
    assert len(figure.axes) == 14
    for ax in figure.axes:
        assert [line.get_linestyle() for line in ax.lines].count("-") == 1
        # The middle of 32 pixels is 15.5, and a box is 32 pixels wide.
        for look, expected in (
            (plots_cascade.PREVIOUS, [15.5, 15.5]),
            (plots_cascade.REFINED, [15.5 + 3.2, 15.5 - 6.4]),
            (plots_cascade.TRUE, [15.5 + 9.6, 15.5 + 12.8]),
        ):
            (mark,) = marked(ax, look)
            np.testing.assert_allclose(mark.get_xydata(), [expected])
        assert not arrows(ax)
        assert (ax.get_xlim(), ax.get_ylim()) == ((-0.5, 31.5), (31.5, -0.5))
    captions = [text.get_text() for text in figure.texts][2:]
    assert captions[::2] == [name.replace("_", " ") for name in LSP.joints]
    # |(0.3, 0.4)| = 0.5 and |(0.2, 0.6)| = 0.632.
    assert captions[1::2] == ["0.50→0.63"] * 14
    assert_no_overlap(figure, [text for text in figure.texts if text.get_text()])


def test_refined_joints_have_their_sides_colours():
    axes = draw_crops().axes
    for joint, side in ((RIGHT_ANKLE, "right"), (LEFT_WRIST, "left"), (NECK, "centre")):
        (mark,) = marked(axes[joint], plots_cascade.REFINED)
        assert mark.get_color() == plots_cascade.ON_IMAGE[side]
    assert len(set(plots_cascade.ON_IMAGE.values())) == 3


def test_a_joint_outside_of_its_crop_is_an_arrow_at_the_border():
    true = np.tile([0.1, 0.1], (14, 1))
    true[RIGHT_WRIST] = [-2.0, 1.0]
    true[NECK] = [0.0, 0.5]  # On the border: still inside.
    axes = draw_crops(true=true).axes
    assert [len(arrows(ax)) for ax in axes] == [int(i == RIGHT_WRIST) for i in range(14)]
    assert not marked(axes[RIGHT_WRIST], plots_cascade.TRUE)
    (arrow,) = arrows(axes[RIGHT_WRIST])
    tip, tail = np.array(arrow.xy) - 15.5, np.array(arrow.xyann) - 15.5
    np.testing.assert_allclose(tip, [-0.49 * SIZE, 0.245 * SIZE])
    np.testing.assert_allclose(tail / np.linalg.norm(tail), tip / np.linalg.norm(tip))
    assert np.linalg.norm(tail) < np.linalg.norm(tip)


def test_crops_bear_missing_labels_and_a_network_that_diverged():
    labelled = np.ones(14, bool)
    labelled[RIGHT_WRIST] = False
    predicted = np.zeros((14, 2))
    predicted[NECK] = np.nan
    figure = draw_crops(labelled=labelled, predicted=predicted)
    assert [len(marked(ax, plots_cascade.TRUE)) for ax in figure.axes] == list(labelled)
    assert not marked(figure.axes[NECK], plots_cascade.REFINED)
    captions = [text.get_text() for text in figure.texts][2:]
    assert captions[2 * RIGHT_WRIST + 1] == "no label"
    figure.draw_without_rendering()


def test_crops_are_bytes_or_floats_up_to_one():
    values = np.random.default_rng(0).integers(0, 256, (14, SIZE, SIZE, 3), dtype=np.uint8)
    for crops in (values, values / 255, (values / 255).astype(np.float32)):
        shown = draw_crops(crops=crops).axes[3].images[0].get_array()
        np.testing.assert_array_equal(shown, values[3])
    with pytest.raises(ValueError, match=r"crops are float64 in \[-1, .*\], not in \[0, 1\]"):
        draw_crops(crops=values / 127.5 - 1)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("crops", np.zeros((13, SIZE, SIZE, 3))),
        ("crops", np.zeros((14, SIZE, SIZE))),
        ("predicted", np.zeros((14, 3))),
        ("true", np.zeros((1, 14, 2))),
        ("labelled", np.ones(13, bool)),
    ],
)
def test_crops_of_other_shapes_are_an_error(name, array):
    with pytest.raises(ValueError, match=rf"{name} has shape .*, not \(14,"):
        draw_crops(**{name: array})


# Displacements.


def some_normals() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(1)
    roots = draw.normal(size=(14, 2, 2)) / 4
    return draw.normal(size=(14, 2)) / 10, roots @ roots.swapaxes(1, 2)


def some_displacements(m: int = 100) -> dict[str | int, np.ndarray]:
    means, covariances = some_normals()
    draw = np.random.default_rng(2)
    return {i: draw.multivariate_normal(means[i], covariances[i], m) for i in range(14)}


def test_clouds_lie_under_their_normals_ellipses():
    means, covariances = some_normals()
    clouds = some_displacements()
    figure = plots_cascade.displacement_clouds(clouds, means, covariances, LSP, "Clouds")
    panels = [ax for ax in figure.axes if ax.axison]
    assert len(panels) == 14
    for i, ax in enumerate(panels):
        points, *ellipses, cross = ax.lines
        np.testing.assert_array_equal(points.get_xydata(), clouds[i])
        np.testing.assert_array_equal(cross.get_xydata(), [[0, 0]])
        assert len(ellipses) == 2
        for deviations, ellipse in enumerate(ellipses, 1):
            offset = np.asarray(ellipse.get_xydata()) - means[i]
            distance = np.einsum("ni,ij,nj->n", offset, np.linalg.inv(covariances[i]), offset)
            np.testing.assert_allclose(distance, deviations**2)  # Mahalanobis, squared
        assert not ax.patches  # No box without sigma.
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in panels}) == 1
    (low, high), (bottom, top) = panels[0].get_xlim(), panels[0].get_ylim()
    assert (low, bottom, top) == (-high, high, -high)  # y down
    colours = [to_hex(panels[i].lines[0].get_color()) for i in (RIGHT_ANKLE, LEFT_WRIST, NECK)]
    assert colours == [to_hex(plots_cascade.ON_PAPER[s]) for s in ("right", "left", "centre")]
    assert legend_of(figure) == ["right", "left", "centre", "true joint", "normal, 1 and 2 sd"]


def test_the_box_is_sigma_wide_and_holds_the_share_that_is_written():
    points = np.array([[0.9, -0.9], [0.0, 0.8], [-1.1, 0.0], [0.2, 1.2]])
    figure = plots_cascade.displacement_clouds(
        {"left_wrist": points, NECK: points[:2]}, *some_normals(), LSP, "Boxes", sigma=2.0
    )
    panels = [ax for ax in figure.axes if ax.axison]
    assert [ax.get_title("left") for ax in panels] == ["left wrist", "neck"]
    assert [ax.get_title("right") for ax in panels] == ["50 %", "100 %"]
    for ax in panels:
        (box,) = ax.patches
        assert isinstance(box, Rectangle)
        assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == (-1, -1, 2, 2)
        assert ax.get_xlim()[1] > 1
    assert legend_of(figure)[0] == "left"
    assert legend_of(figure)[-1] == "box, 2 diam wide, and % inside"


def test_a_few_far_points_do_not_shrink_the_clouds():
    points = np.zeros((200, 2))
    points[:2] = 1000.0
    normals = np.zeros((14, 2)), np.tile(np.eye(2), (14, 1, 1))
    figure = plots_cascade.displacement_clouds({0: points}, *normals, LSP, "")
    ax = figure.axes[0]
    np.testing.assert_allclose(ax.get_xlim(), [-2.1, 2.1])  # Two deviations and a margin.
    assert [text.get_text() for text in ax.texts] == ["1 % beyond"]


def test_clouds_bear_joints_without_labels():
    means, covariances = some_normals()
    means[3], covariances[3] = np.nan, np.nan
    clouds = some_displacements() | {3: np.zeros((0, 2))}
    clouds[4][::2] = np.nan
    figure = plots_cascade.displacement_clouds(clouds, means, covariances, LSP, "", sigma=1.0)
    assert len(figure.axes[3].lines) == 2  # No ellipses.
    assert len(figure.axes[4].lines[0].get_xdata()) == 50
    figure.draw_without_rendering()


def test_a_large_cloud_is_thinned():
    clouds = {0: np.random.default_rng(0).normal(size=(5000, 2))}
    figure = plots_cascade.displacement_clouds(clouds, *some_normals(), LSP, "")
    shown = figure.axes[0].lines[0].get_xydata()
    assert len(shown) == plots_cascade.CLOUD
    np.testing.assert_array_equal(shown[[0, -1]], clouds[0][[0, -1]])


def test_clouds_that_cannot_be_drawn_are_an_error():
    means, covariances = some_normals()
    points = np.zeros((5, 2))
    draw = plots_cascade.displacement_clouds
    with pytest.raises(ValueError, match="no joints"):
        draw({}, means, covariances, LSP, "")
    for joint in ("tail", 14):
        with pytest.raises(ValueError, match=f"the skeleton has no joint {joint!r}"):
            draw({joint: points}, means, covariances, LSP, "")
    with pytest.raises(ValueError, match=r"displacements\['neck'\] has shape \(5, 3\)"):
        draw({"neck": np.zeros((5, 3))}, means, covariances, LSP, "")
    with pytest.raises(ValueError, match=r"means has shape \(13, 2\), not \(14, 2\)"):
        draw({0: points}, means[1:], covariances, LSP, "")
    with pytest.raises(ValueError, match=r"covariances has shape \(14, 2\), not \(14, 2, 2\)"):
        draw({0: points}, means, covariances[..., 0], LSP, "")


# Scores.


def some_score(percent: float, spread: float | None = 3.0) -> dict:
    parts = dict.fromkeys(plots.PARTS, percent)
    score = {"pcp_strict": parts, "pcp_loose": dict.fromkeys(plots.PARTS, percent + 10)}
    score["pdj"] = {t: {"total": percent + i} for i, t in enumerate(("0.1", "0.2", "0.5"))}
    if spread is None:
        return score
    low_high = [percent - spread, percent + 2 * spread]
    intervals = {metric: dict.fromkeys(plots.PARTS, low_high) for metric in list(score)[:2]}
    return score | {
        "intervals": intervals | {"pdj": {t: {"total": low_high} for t in score["pdj"]}}
    }


def intervals_of(ax: Axes) -> np.ndarray:
    lines = [c for c in ax.collections if isinstance(c, LineCollection)]
    drawn = [segment[:, 0] for c in lines for segment in c.get_segments() if len(segment)]
    return np.array(drawn)  # [bars, 2]


def test_bars_of_each_stage_bear_intervals_beside_the_dotted_floor():
    stages = [some_score(30.0), some_score(40.0), some_score(42.0)]
    figure = plots_cascade.scores_by_stage(stages, some_score(17.5, None))
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
    scores = [some_score(100.0, 0.0) for _ in range(stages)]
    for score in scores:
        score["pcp_loose"] = score["pcp_strict"]
    figure = plots_cascade.scores_by_stage(scores, some_score(17.5, None))
    texts = [text for ax in figure.axes for text in ax.texts]
    assert len(texts) == 17 * stages
    assert_no_overlap(figure, texts)


def test_real_scores_with_nothing_measured_for_a_part():
    true, labelled = some_poses(20), np.ones((20, 14), bool)
    labelled[:, 13] = False  # No head anywhere: its score and its interval are None.
    score = metrics.score(some_poses(20, seed=1), true, labelled, LSP, resamples=20)
    assert score["pcp_strict"]["head"] is None
    plain = {key: value for key, value in score.items() if key != "intervals"}
    figure = plots_cascade.scores_by_stage([score, plain], plain)
    strict, *_ = figure.axes
    widths = [bar.get_width() for bar in strict.patches]
    assert np.isnan(widths).tolist() == ([True] + [False] * 6) * 2
    assert len([line for line in strict.lines if line.get_linestyle() == ":"]) == 6
    assert len(intervals_of(strict)) == 6
    figure.draw_without_rendering()


def test_no_stage_is_a_users_error():
    with pytest.raises(UserError, match="no stages"):
        plots_cascade.scores_by_stage([], some_score(1.0))


# Files.


def drawings() -> dict[str, Figure]:
    true, known = some_poses(2), np.ones((2, 14), bool)
    return {
        "stages": plots_cascade.stages_row(some_images(2), true, [true] * 3, known, LSP, "Stages"),
        "crops": draw_crops(),
        "clouds": plots_cascade.displacement_clouds(
            some_displacements(), *some_normals(), LSP, "Clouds", sigma=2.0
        ),
        "scores": plots_cascade.scores_by_stage([some_score(30.0)] * 3, some_score(17.5, None)),
    }


def test_every_figure_is_1200_pixels_wide_and_the_same_bytes_again(tmp_path):
    for name, figure in drawings().items():
        plots.save(figure, tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.width == 1200
            assert 700 < image.height < 1500
    for name, figure in drawings().items():
        plots.save(figure, tmp_path / "again.png")
        assert (tmp_path / "again.png").read_bytes() == (tmp_path / f"{name}.png").read_bytes()
