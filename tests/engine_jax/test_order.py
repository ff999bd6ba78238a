import numpy as np
import pytest

from engine_jax.order import (
    SampleOrder,
    balanced_order,
    epoch_order,
    largest_divisor,
    padded_batches,
    shuffled,
)
from engine_jax.stream import stream


def test_an_epoch_visits_no_sample_twice_and_differs_from_the_next():
    order = SampleOrder([3], size=21, batch_size=5)
    first = order(range(4))
    assert first.shape == (4, 5)
    assert len(set(first.ravel())) == 20
    assert not np.array_equal(first, order(range(4, 8)))


def test_indices_depend_on_the_step_alone():
    whole = SampleOrder([1], size=20, batch_size=5)(range(8, 12))
    order = SampleOrder([1], size=20, batch_size=5)
    order(range(4)), order(range(4, 8))
    parts = [order(range(step, step + 1)) for step in range(8, 12)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    np.testing.assert_array_equal(whole.ravel(), epoch_order([1], 2, 20))


def test_a_call_stays_in_its_epoch():
    with pytest.raises(ValueError, match="beyond an epoch of 4"):
        SampleOrder([0], size=20, batch_size=5)(range(3, 5))


def test_padded_batches_hold_every_sample_once():
    indices, valid = padded_batches(7, 3)
    assert indices.shape == (3, 3)
    assert valid.tolist() == [3, 3, 1]
    kept = np.concatenate([row[:n] for row, n in zip(indices, valid, strict=True)])
    np.testing.assert_array_equal(kept, np.arange(7))


def test_padded_batches_get_places_for_every_device():
    indices, valid = padded_batches(7, 5, multiple=4)
    np.testing.assert_array_equal(indices, [[0, 1, 2, 3, 4, 0, 0, 0], [5, 6, 0, 0, 0, 0, 0, 0]])
    assert valid.tolist() == [5, 2]


@pytest.mark.parametrize(
    ("number", "limit", "expected"), [(12, 5, 4), (7, 16, 7), (7, 6, 1), (85, 20, 17)]
)
def test_largest_divisor(number, limit, expected):
    assert largest_divisor(number, limit) == expected


def test_shuffled_is_the_same_on_every_machine():
    assert shuffled(6, 0).tolist() == [0, 3, 5, 1, 2, 4]
    assert sorted(shuffled(100, 2**63 - 1)) == list(range(100))
    assert shuffled(100, 1).tolist() != shuffled(100, 0).tolist()


def test_several_orders_of_one_seed_are_drawn_one_after_the_other():
    bits = np.random.Philox(3).random_raw(9)
    for start in (0, 4):
        order = shuffled(5, 3, start)
        assert order.tolist() == np.argsort(bits[start : start + 5]).tolist()


def test_a_stream_gathers_in_order_and_starts_anywhere():
    data = {"a": np.arange(10) * 10, "b": np.arange(20).reshape(10, 2)}

    def indices(i):
        return np.array([[i, i + 1]])

    batches = list(stream(data, indices, calls=range(2, 5)))
    assert len(batches) == 3
    for i, batch in enumerate(batches, start=2):
        np.testing.assert_array_equal(batch["a"], [[i * 10, i * 10 + 10]])
        np.testing.assert_array_equal(batch["b"], data["b"][[[i, i + 1]]])


def test_a_balanced_order_has_every_class_equally_often_and_all_of_its_samples():
    classes = np.repeat([0, 2, 5], [60, 6, 30])
    order = balanced_order([1], 0, classes)
    assert np.bincount(classes[order], minlength=6).tolist() == [32, 0, 32, 0, 0, 32]
    for start in range(0, 96, 3):  # Each class once in every run of three.
        assert set(classes[order[start : start + 3]]) == {0, 2, 5}
    assert set(order[classes[order] == 2]) == set(range(60, 66))
    assert set(order[classes[order] == 5]) == set(range(66, 96))
    seen = {i for epoch in range(8) for i in balanced_order([1], epoch, classes)}
    assert seen == set(range(96))  # Of the largest class, other samples in each epoch.
    np.testing.assert_array_equal(order, balanced_order([1], 0, classes))
    steps = SampleOrder([1], size=96, batch_size=8, balance=classes)(range(3, 5))
    np.testing.assert_array_equal(steps.ravel(), order[24:40])
