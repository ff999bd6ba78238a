import numpy as np
import pytest

from classify_jax import metrics, tables

# Six classes; the true one is first, third, sixth and (tied with another) second.
PROBABILITIES = np.array(
    [
        [0.5, 0.1, 0.1, 0.1, 0.1, 0.1],
        [0.1, 0.2, 0.4, 0.3, 0.0, 0.0],
        [0.3, 0.25, 0.2, 0.15, 0.1, 0.0],
        [0.4, 0.4, 0.1, 0.1, 0.0, 0.0],
    ]
)
LABELS = np.array([0, 1, 5, 1])
NAMES = tuple("abcdef")


def test_ranks_and_errors_of_a_small_example():
    assert metrics.ranks(PROBABILITIES, LABELS).tolist() == [0, 2, 5, 1]
    assert metrics.top_error(PROBABILITIES, LABELS, 1) == 0.75
    assert metrics.top_error(PROBABILITIES, LABELS, 2) == 0.5
    assert metrics.top_error(PROBABILITIES, LABELS, 5) == 0.25
    assert metrics.top_error(PROBABILITIES[:, :5], LABELS % 5, 5) is None


def test_the_rank_of_ties_agrees_with_the_predicted_class():
    random = np.random.default_rng(0)
    probabilities = random.integers(0, 3, (200, 5)) / 3
    labels = random.integers(0, 5, 200)
    right = probabilities.argmax(1) == labels
    assert ((metrics.ranks(probabilities, labels) == 0) == right).all()


def test_confusion_has_true_classes_as_rows():
    expected = np.zeros((6, 6))
    expected[0, 0] = expected[1, 2] = expected[5, 0] = expected[1, 0] = 1
    assert (metrics.confusion(PROBABILITIES, LABELS) == expected).all()


def test_the_interval_is_the_bootstraps():
    wrong = np.arange(200) < 30
    random = np.random.default_rng(1)
    errors = [random.choice(wrong, 200).mean() for _ in range(4000)]
    found = metrics.interval(0.15, 200, 4000, seed=0)
    np.testing.assert_allclose(found, np.percentile(errors, (2.5, 97.5)), atol=0.006)


def test_a_score_counts_each_class():
    found = metrics.score(PROBABILITIES, LABELS, NAMES, resamples=50, seed=0)
    assert found["per_class"]["a"] == {"images": 1, "accuracy": 1.0}
    assert found["per_class"]["b"] == {"images": 2, "accuracy": 0.0}
    assert found["per_class"]["c"] == {"images": 0, "accuracy": None}
    assert found["mean_class_accuracy"] == pytest.approx(1 / 3)
    low, high = found["intervals"]["top1_error"]
    assert low <= found["top1_error"] <= high
    assert set(found["intervals"]) == {"top1_error", "top5_error"}


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("probabilities", "labels"),
    [
        (PROBABILITIES, LABELS[:3]),
        (PROBABILITIES, LABELS + 1),
        (PROBABILITIES[:0], LABELS[:0]),
        (np.where(PROBABILITIES == 0.5, np.nan, PROBABILITIES), LABELS),
    ],
)
def test_arrays_that_do_not_fit(probabilities, labels):
    with pytest.raises(ValueError, match=r"labels|finite"):
        metrics.ranks(probabilities, labels)


def results(**changes):
    score = metrics.score(PROBABILITIES, LABELS, NAMES, resamples=50, seed=0)
    errors = {"top1_error": 0.5, "top5_error": None}
    return {**score, "views": 1, "single_view": errors, "floor": errors, **changes}


def test_tables_name_the_worst_class_first_and_what_it_is_taken_for():
    lines = tables.class_table(results()).splitlines()
    assert lines[1].split() == ["b", "2", "0.0", "a", "(1)"]
    assert lines[-1].split() == ["a", "1", "100.0", "-"]
    lines = tables.error_table(results()).splitlines()
    assert lines[1].startswith("test   ")
    assert lines[2].split() == ["always", "the", "commonest", "class", "50.0", "-"]
    assert "mean of 10 views" in tables.error_table(results(views=10))
