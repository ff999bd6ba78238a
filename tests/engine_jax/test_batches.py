import jax
import numpy as np
import pytest

from engine_jax import batches, sharding
from engine_jax.batches import Batches, fitting_batch_size, map_batches


@pytest.mark.parametrize("count", [1, 4, 7])
@pytest.mark.parametrize("sharded", [False, True])
def test_a_function_is_applied_to_each_sample_once_in_order(count, sharded):
    data = {"a": np.arange(count), "b": np.arange(3 * count).reshape(count, 3), "none": None}
    sizes = []

    def function(batch):
        sizes.append(len(batch["a"]))
        return {"sum": batch["b"].sum(1) + batch["a"], "none": None}

    split = sharding.split(sharding.device_mesh()) if sharded else None
    found = map_batches(function, data, 4, split)
    np.testing.assert_array_equal(found["sum"], data["b"].sum(1) + data["a"])
    assert isinstance(found["sum"], np.ndarray)
    assert found["none"] is None
    assert sizes == [4] * -(-count // 4)


def test_any_number_of_samples_is_compiled_once():
    traces = []

    @jax.jit
    def function(batch):
        traces.append(1)
        return batch + 1

    for count in (3, 8, 21):
        np.testing.assert_array_equal(
            map_batches(function, np.arange(count), 8), np.arange(count) + 1
        )
    assert len(traces) == 1


def test_few_batch_sizes():
    assert [fitting_batch_size(n, 16) for n in (1, 2, 3, 5, 16, 100)] == [1, 2, 4, 8, 16, 16]


def test_no_samples_give_arrays_of_no_rows():
    double = jax.jit(lambda batch: {"sums": 2.0 * batch.sum(1), "pairs": batch[:, :2]})
    found = map_batches(double, np.zeros((0, 3), np.float32), 4)
    assert {name: (array.shape, array.dtype) for name, array in found.items()} == {
        "sums": ((0,), np.float32),
        "pairs": ((0, 2), np.float32),
    }


@pytest.mark.parametrize("bytes_kept", [84, 83])
def test_a_set_stays_on_the_devices_if_it_is_small(bytes_kept, monkeypatch):
    monkeypatch.setattr(batches, "_KEPT", bytes_kept)
    data = np.arange(21, dtype=np.int32)  # 84 bytes
    kept = Batches(data, 8, sharding.split(sharding.device_mesh(8)))
    double = jax.jit(lambda batch: 2 * batch)
    first = [batch for batch, _ in kept]
    for _ in range(2):
        np.testing.assert_array_equal(kept.map(double), 2 * data)
    again = [batch for batch, _ in kept]
    assert [a is b for a, b in zip(first, again, strict=True)] == [bytes_kept == 84] * 3


def test_the_next_batch_is_sent_before_the_results_of_one_are_read():
    events = []

    class Result:
        """A batch's result, which says when it is read."""

        def __init__(self, batch):
            self.batch = batch

        def __array__(self, dtype=None, copy=None):
            events.append(("read", int(self.batch[0])))
            return self.batch

    def function(batch):
        events.append(("sent", int(batch[0])))
        return Result(batch)

    np.testing.assert_array_equal(map_batches(function, np.arange(5), 2), np.arange(5))
    assert events == [("sent", 0), ("sent", 2), ("read", 0), ("sent", 4), ("read", 2), ("read", 4)]
