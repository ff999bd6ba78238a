"""Functions of a batch, applied to any number of samples."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding

from engine_jax import sharding
from engine_jax.order import padded_batches


def map_batches(
    function: Callable[[Any], Any],
    data: Any,
    batch_size: int,
    batch_sharding: NamedSharding | None = None,
) -> Any:
    """Applies a jitted function of a batch to all samples, in batches of one size.

    Args:
        function: of a batch; its results have the samples along the first axis.
        data: a tree of NumPy arrays with n samples along the first axis.
        batch_size: samples a call, at most. The last batch is padded with copies of the first sample, and every batch
            is that can't be divided evenly among devices; their results are dropped.
        batch_sharding: how a batch is divided among devices; None leaves it to `function`.

    Returns:
        The results of the n samples in order, as NumPy arrays.
    """
    size = jax.tree.leaves(data)[0].shape[0]
    parts = 1 if batch_sharding is None else sharding.parts(batch_sharding)
    if not size:
        one = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype), data)
        shapes = jax.eval_shape(function, one)
        return jax.tree.map(lambda x: np.empty((0, *x.shape[1:]), x.dtype), shapes)
    results = []
    for indices, valid in zip(*padded_batches(size, batch_size, parts), strict=True):
        batch = jax.tree.map(lambda array, at=indices: array[at], data)
        if batch_sharding is not None:
            batch = sharding.place(batch, batch_sharding)
        result = jax.device_get(function(batch))
        results.append(jax.tree.map(lambda array, count=valid: array[:count], result))
    return jax.tree.map(lambda *batches: np.concatenate(batches), *results)


def fitting_batch_size(count: int, largest: int) -> int:
    """The smallest power of two that holds `count` samples, at most `largest`.

    With few sizes there is little to compile, and a single image isn't padded to a whole batch.
    """
    return min(largest, 1 << max(count - 1, 0).bit_length())
