import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation

from deeppose_jax.plots import cascade
from deeppose_jax.skeleton import LSP
from tests.figures import assert_drawn_alike, assert_no_overlap

RIGHT_ANKLE, RIGHT_WRIST, LEFT_WRIST, NECK = 0, 6, 11, 12
SIZE = 32  # pixels of a crop


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


# Crops.


def draw_crops(**changes) -> Figure:
    draw = np.random.default_rng(0)
    arguments = {
        "crops": draw.random((14, SIZE, SIZE, 3)),
        "predicted": np.tile([0.1, -0.2], (14, 1)),
        "true": np.tile([0.3, 0.4], (14, 1)),
        "labelled": np.ones(14, bool),
    }
    return cascade.refiner_crops(**(arguments | changes), skeleton=LSP, title="Crops")


def test_a_crop_shows_previous_refined_and_true_joint():
    figure = draw_crops()
    assert len(figure.axes) == 14
    for ax in figure.axes:
        assert [line.get_linestyle() for line in ax.lines].count("-") == 1
        # The middle of 32 pixels is 15.5, and a box is 32 pixels wide.
        for look, expected in (
            (cascade.PREVIOUS, [15.5, 15.5]),
            (cascade.REFINED, [15.5 + 3.2, 15.5 - 6.4]),
            (cascade.TRUE, [15.5 + 9.6, 15.5 + 12.8]),
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
        (mark,) = marked(axes[joint], cascade.REFINED)
        assert mark.get_color() == cascade.ON_IMAGE[side]
    assert len(set(cascade.ON_IMAGE.values())) == 3


def test_a_joint_outside_of_its_crop_is_an_arrow_at_the_border():
    true = np.tile([0.1, 0.1], (14, 1))
    true[RIGHT_WRIST] = [-2.0, 1.0]
    true[NECK] = [0.0, 0.5]  # On the border: still inside.
    axes = draw_crops(true=true).axes
    assert [len(arrows(ax)) for ax in axes] == [int(i == RIGHT_WRIST) for i in range(14)]
    assert not marked(axes[RIGHT_WRIST], cascade.TRUE)
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
    assert [len(marked(ax, cascade.TRUE)) for ax in figure.axes] == list(labelled)
    assert not marked(figure.axes[NECK], cascade.REFINED)
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


@pytest.mark.usefixtures("unchecked_shapes")
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
    figure = cascade.displacement_clouds(clouds, means, covariances, LSP, "Clouds")
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
    assert colours == [to_hex(cascade.ON_PAPER[s]) for s in ("right", "left", "centre")]
    assert legend_of(figure) == ["right", "left", "centre", "true joint", "normal, 1 and 2 sd"]


def test_the_box_is_sigma_wide_and_holds_the_share_that_is_written():
    points = np.array([[0.9, -0.9], [0.0, 0.8], [-1.1, 0.0], [0.2, 1.2]])
    figure = cascade.displacement_clouds(
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
    figure = cascade.displacement_clouds({0: points}, *normals, LSP, "")
    ax = figure.axes[0]
    np.testing.assert_allclose(ax.get_xlim(), [-2.1, 2.1])  # Two deviations and a margin.
    assert [text.get_text() for text in ax.texts] == ["1 % beyond"]


def test_clouds_bear_joints_without_labels():
    means, covariances = some_normals()
    means[3], covariances[3] = np.nan, np.nan
    clouds = some_displacements() | {3: np.zeros((0, 2))}
    clouds[4][::2] = np.nan
    figure = cascade.displacement_clouds(clouds, means, covariances, LSP, "", sigma=1.0)
    assert len(figure.axes[3].lines) == 2  # No ellipses.
    assert len(figure.axes[4].lines[0].get_xdata()) == 50
    figure.draw_without_rendering()


def test_a_large_cloud_is_thinned():
    clouds = {0: np.random.default_rng(0).normal(size=(5000, 2))}
    figure = cascade.displacement_clouds(clouds, *some_normals(), LSP, "")
    shown = figure.axes[0].lines[0].get_xydata()
    assert len(shown) == cascade.CLOUD
    np.testing.assert_array_equal(shown[[0, -1]], clouds[0][[0, -1]])


@pytest.mark.usefixtures("unchecked_shapes")
def test_clouds_that_cannot_be_drawn_are_an_error():
    means, covariances = some_normals()
    points = np.zeros((5, 2))
    draw = cascade.displacement_clouds
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


# Files.


@pytest.mark.parametrize("kind", ["crops", "clouds"])
def test_refiners_are_drawn_alike_each_time(kind, tmp_path):
    def draw() -> Figure:
        if kind == "crops":
            return draw_crops()
        clouds = some_displacements()
        return cascade.displacement_clouds(clouds, *some_normals(), LSP, "Clouds", sigma=2.0)

    assert_drawn_alike(draw, tmp_path)
