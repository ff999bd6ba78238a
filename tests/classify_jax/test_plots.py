import numpy as np
import pytest

from classify_jax.plots import accuracy_curves, confusion, examples, filters
from engine_jax.errors import UserError
from tests.figures import assert_drawn_alike, line_of

NAMES = ("cat", "dog", "a class of a very long name indeed")


def random(*shape):
    return np.random.default_rng(0).random(shape)


def test_accuracies_are_what_the_errors_leave():
    history = [
        {"epoch": epoch, "train/top1_error": 0.5 / epoch, "validation/top1_error": 0.6}
        for epoch in (1, 2)
    ]
    figure = accuracy_curves(history, best_epoch=2)
    ax = figure.axes[0]
    assert line_of(ax, "train").get_ydata().tolist() == [50, 75]
    assert line_of(ax, "validation").get_ydata().tolist() == [40, 40]
    assert ax.get_title(loc="left") == "top-1 accuracy"
    assert len(figure.axes) == 2  # the other one holds the legend
    with pytest.raises(UserError, match="history"):
        accuracy_curves([{"epoch": 1, "train/loss": 1.0}])


@pytest.mark.usefixtures("unchecked_shapes")
def test_the_confusion_matrix_shows_counts_in_rows_of_true_classes():
    figure = confusion(np.array([[8, 2, 0], [0, 0, 0], [1, 0, 3]]), NAMES)
    ax = figure.axes[0]
    cells = {text.get_position(): text.get_text() for text in ax.texts}
    assert cells == {(0, 0): "8", (1, 0): "2", (0, 2): "1", (2, 2): "3"}
    np.testing.assert_allclose(ax.images[0].get_array()[0], [0.8, 0.2, 0])
    assert ax.get_yticklabels()[1].get_text() == "dog"
    many = confusion(np.eye(100, dtype=int), [str(i) for i in range(100)])
    assert not many.axes[0].texts
    with pytest.raises(ValueError, match=r"matrix is \(2, 2\)"):
        confusion(np.eye(2), NAMES)


@pytest.mark.usefixtures("unchecked_shapes")
def test_examples_say_what_is_predicted_and_what_is_true():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
    images = (255 * random(2, 8, 8, 3)).astype(np.uint8)
    figure = examples(images, probabilities, np.array([0, 2]), NAMES, "Title")
    words = [text.get_text() for text in figure.texts]
    assert words == ["Title", "cat 70 %", "dog 80 %\ntrue: a class of a ve…"]
    assert figure.texts[1].get_color() != figure.texts[2].get_color()
    with pytest.raises(ValueError, match="do not fit"):
        examples(images, probabilities, np.array([0]), NAMES, "Title")


@pytest.mark.usefixtures("unchecked_shapes")
def test_filters_are_grey_where_weights_are_zero():
    kernel = np.zeros((3, 3, 3, 14))
    kernel[0, 0, 0, 1] = -2.0
    figure = filters(kernel)
    assert len(figure.axes) == 14
    shown = np.asarray(figure.axes[1].images[0].get_array())
    np.testing.assert_allclose(shown[0, 0], [0, 0.5, 0.5])
    assert (np.asarray(figure.axes[0].images[0].get_array()) == 0.5).all()
    with pytest.raises(ValueError, match=r"kernel is \(3, 3, 1, 8\)"):
        filters(np.zeros((3, 3, 1, 8)))


@pytest.mark.parametrize(
    "draw",
    [
        lambda: confusion(np.eye(3, dtype=int), NAMES),
        lambda: filters(random(5, 5, 3, 90)),
        lambda: examples(
            np.zeros((13, 8, 8, 3), np.uint8), random(13, 3), np.zeros(13, int), NAMES, "Title"
        ),
    ],
)
def test_the_same_numbers_are_the_same_picture(draw, tmp_path):
    assert_drawn_alike(draw, tmp_path)
