"""Batches from the host, for data sets that are larger than a device. The one importer of grain."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import grain
import jax
import numpy as np

T = TypeVar("T")
C = TypeVar("C")


def stream(
    data: T, indices: Callable[[C], np.ndarray], calls: Sequence[C], prefetch: int = 2
) -> Iterator[T]:
    """Gathers samples on the host in background threads, ahead of their use.

    Args:
        data: a tree of NumPy arrays (memory maps, too) or `LazyImages` with samples along the first axis.
        indices: which samples the batch of a call holds, as an array of any shape.
        calls: what there are batches for.
        prefetch: batches held ready.

    Returns:
        The batches in order: `data` with the first axis replaced by the indices' axes.
    """

    def gather(call: C) -> T:
        chosen = indices(call)
        return jax.tree.map(lambda array: array[chosen], data)

    batches = grain.MapDataset.source(calls).map(gather)
    return iter(
        batches.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=prefetch))
    )
