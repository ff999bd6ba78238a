"""Batches from host memory, for data sets that are larger than a device. The one importer of grain."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import grain
import jax
import numpy as np

T = TypeVar("T")


def stream(
    data: T, indices: Callable[[int], np.ndarray], calls: int, first: int = 0, prefetch: int = 2
) -> Iterator[T]:
    """Gathers samples on the host in background threads, ahead of their use.

    Args:
        data: a tree of NumPy arrays (memory maps, too) with samples along the first axis.
        indices: which samples the i-th batch holds, as an array of any shape.
        calls: how many batches there are.
        first: the batch to begin with.
        prefetch: batches held ready.

    Returns:
        The batches in order: `data` with the first axis replaced by the indices' axes.
    """

    def gather(i: int) -> T:
        return jax.tree.map(lambda array: array[indices(i)], data)

    batches = grain.MapDataset.range(first, calls).map(gather)
    return iter(
        batches.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=prefetch))
    )
