import jax
import numpy as np
import pytest

from engine_jax import sharding
from engine_jax.batches import fitting_batch_size, map_batches


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
