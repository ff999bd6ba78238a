import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from anomaly_jax import plots
from anomaly_jax.plots import images
from engine_jax.plots import save
from tests.figures import assert_no_overlap

GRID = {"0.1": 0.1, "0.15": 0.15, "0.2": 0.2, "0.3": 0.3}
THRESHOLDS = GRID | {"good_only": 0.123, "oracle": 0.181}
SIZE = 16


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts if text.get_text()]


def legend_of(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def some_detections(n: int = 3, **changes) -> dict:
    draw = np.random.default_rng(0)
    masks = np.zeros((n, SIZE, SIZE), bool)
    masks[:, 4:8, 4:8] = True
    return {
        "images": draw.integers(0, 256, (n, SIZE, SIZE, 3), dtype=np.uint8),
        "reconstructions": draw.random((n, SIZE, SIZE, 3)),
        "maps": draw.random((n, SIZE, SIZE), np.float32) / 4,
        "masks": masks,
        "thresholds": THRESHOLDS,
        "names": [f"crack/{i:03d}.png" for i in range(n)],
        "title": "crack",
    } | changes


def tiles(figure: Figure, n: int, thresholds: int = 6) -> np.ndarray:
    """The axes of images, [n, columns], without the colour bar."""
    return np.array(figure.axes[: n * (4 + thresholds)]).reshape(n, -1)


def colours_of(ax: Axes) -> dict[str, np.ndarray]:
    """Where each of the decision's colours is."""
    (shown,) = ax.images
    pixels = np.asarray(shown.get_array())
    names = ("FOUND", "FALSE_ALARM", "MISSED", "UNKNOWN")
    return {n: (pixels == to_rgb(getattr(images, n))).all(-1) for n in names}


def test_a_row_shows_image_reconstruction_map_mask_and_decisions():
    given = some_detections()
    figure = plots.detections(**given)
    for i, row in enumerate(tiles(figure, 3)):
        image, reconstruction, anomaly_map, mask, *decisions = row
        for ax, array in (
            (image, given["images"]),
            (reconstruction, given["reconstructions"]),
            (anomaly_map, given["maps"]),
            (mask, given["masks"]),
        ):
            np.testing.assert_array_equal(ax.images[0].get_array(), array[i])
        for ax, threshold in zip(decisions, THRESHOLDS.values(), strict=True):
            predicted, true = given["maps"][i] >= np.float32(threshold), given["masks"][i]
            found = colours_of(ax)
            np.testing.assert_array_equal(found["FOUND"], predicted & true)
            np.testing.assert_array_equal(found["FALSE_ALARM"], predicted & ~true)
            np.testing.assert_array_equal(found["MISSED"], ~predicted & true)
            assert not found["UNKNOWN"].any()
    assert legend_of(figure) == ["found", "false alarm", "missed"]
    heads = ["input", "reconstruction", "anomaly map", "true mask"]
    heads += [f"predicted\nat {name}" for name in GRID]
    assert texts(figure)[:11] == ["crack", *heads, "good only\nat 0.123", "oracle\nat 0.181"]
    assert_no_overlap(figure, [text for text in figure.texts if text.get_text()])


def test_a_score_of_the_threshold_is_faulty_in_the_maps_own_type():
    maps = np.full((1, SIZE, SIZE), 0.7, np.float32)  # Less than 0.7 in float64.
    figure = plots.detections(**some_detections(1, maps=maps, thresholds={"0.7": 0.7}))
    assert colours_of(tiles(figure, 1, 1)[0, 4])["FALSE_ALARM"].sum() == SIZE**2 - 16


def test_beneath_a_decision_stand_the_images_recall_precision_and_accuracy():
    maps = np.zeros((1, SIZE, SIZE), np.float32)
    maps[0, 4:8, 4:7] = 0.25  # 12 of 16 faulty pixels
    maps[0, 0, :4] = 0.25  # and 4 good ones.
    figure = plots.detections(**some_detections(1, maps=maps, thresholds={"0.2": 0.2, "0.3": 0.3}))
    # 248 of 256 and 240 of 256 pixels are right.
    assert [t for t in texts(figure) if t.count(" / ") == 2][:2] == ["75 / 75 / 97", "0 / - / 94"]


def test_all_maps_share_one_scale_that_a_few_hot_pixels_do_not_stretch():
    maps = np.full((2, 100, 100), 0.1, np.float32)
    maps[1] = 0.19
    maps[0, 0, :10] = 9.0
    given = some_detections(2, maps=maps, masks=[None, None])
    given["images"] = np.zeros((2, 100, 100, 3), np.uint8)
    given["reconstructions"] = np.zeros((2, 100, 100, 3))
    figure = plots.detections(**given)
    limits = [row[2].images[0].get_clim() for row in tiles(figure, 2)]
    assert limits == [(0.0, pytest.approx(0.19))] * 2
    marked = figure.axes[-1].collections[-1]
    assert isinstance(marked, LineCollection)
    at = sorted(segment[0, 0] for segment in marked.get_segments())
    np.testing.assert_allclose(at, [0.1, 0.123, 0.15, 0.181])  # The scale ends at 0.19.


def test_maps_that_are_constant_or_negative_have_a_scale():
    for value, limits in ((0.0, (0, 1)), (0.5, (0, 0.5)), (-2.0, (-2, -1))):
        maps = np.full((1, SIZE, SIZE), value)
        figure = plots.detections(**some_detections(1, maps=maps))
        assert tiles(figure, 1)[0, 2].images[0].get_clim() == limits
        figure.draw_without_rendering()


def test_an_image_without_a_mask_has_predictions_of_unknown_truth():
    masks = [np.zeros((SIZE, SIZE), bool), None]
    given = some_detections(2, masks=masks)
    figure = plots.detections(**given)
    good, unknown = tiles(figure, 2)
    assert not colours_of(good[4])["FOUND"].any()
    assert [text.get_text() for text in unknown[3].texts] == ["no mask"]
    predicted = given["maps"][1] >= np.float32(0.1)
    np.testing.assert_array_equal(colours_of(unknown[4])["UNKNOWN"], predicted)
    assert sum(" / " in text for text in texts(figure)) == 6 + 1  # And the note.
    assert legend_of(figure)[-1] == "predicted, truth unknown"
    alone = plots.detections(**some_detections(1, masks=[None]))
    assert legend_of(alone) == ["predicted, truth unknown"]
    assert not any(" / " in text for text in texts(alone))


@pytest.mark.parametrize("thresholds", [{}, {"0.1": 0.1}, THRESHOLDS])
def test_names_stay_apart_however_many_columns(thresholds):
    names = ["a/folder/of/a/very/long/name/000.png"] * 2
    given = some_detections(2, names=names, thresholds=thresholds)
    figure = plots.detections(**given)
    assert_no_overlap(figure, [text for text in figure.texts if text.get_text()])
    right = tiles(figure, 2, len(thresholds))[0, -1].get_position()
    assert right.x1 < 1
    assert right.width * figure.get_figwidth() >= images.SMALLEST - 1e-6


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("images", np.zeros((3, SIZE, SIZE, 3)), r"images are float64 \(3, 16, 16, 3\), not uint8"),
        ("images", np.zeros((0, SIZE, SIZE, 3), np.uint8), r"images are uint8 \(0, 16, 16, 3\)"),
        ("reconstructions", np.zeros((3, 8, 8, 3)), r"reconstructions are \(3, 8, 8, 3\), not"),
        ("maps", np.zeros((3, SIZE, 8)), r"maps are \(3, 16, 8\), not \(3, 16, 16\)"),
        ("maps", np.full((3, SIZE, SIZE), np.nan), "maps: a value is not finite"),
        ("masks", np.zeros((2, SIZE, SIZE), bool), "3 images, 2 masks and 3 names"),
        ("masks", [None, None, np.zeros((SIZE, SIZE))], r"masks\[2\] is float64 \(16, 16\)"),
        ("names", ["a"], "3 images, 3 masks and 1 names"),
        ("thresholds", {"oracle": np.nan}, "accepted: finite numbers"),
    ],
)
def test_detections_refuse_what_they_cannot_draw(name, value, message):
    with pytest.raises(ValueError, match=message):
        plots.detections(**some_detections(**{name: value}))


def test_detections_are_drawn_alike_each_time(tmp_path):
    for name in ("first.png", "second.png"):
        save(plots.detections(**some_detections()), tmp_path / name)
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
