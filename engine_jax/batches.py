"""Functions of a batch, applied to any number of samples."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding

from engine_jax import sharding
from engine_jax.order import padded_batches

_KEPT = 2**30  # bytes of a data set that stays on the devices, at most


class Batches:
    """A data set in batches of one size, which stay on the devices from one use to the next if they are at most a GiB.

    The last batch is padded with copies of the first sample, and every batch is that can't be divided evenly among
    devices.

    Args:
        data: a tree of NumPy arrays with n samples along the first axis, n at least 1.
        batch_size: samples a batch, at most.
        batch_sharding: how a batch is divided among devices; None leaves batches on the host.
    """

    def __init__(self, data: Any, batch_size: int, batch_sharding: NamedSharding | None = None):
        self._data, self._sharding = data, batch_sharding
        leaves = jax.tree.leaves(data)
        parts = 1 if batch_sharding is None else sharding.parts(batch_sharding)
        self._indices, self._valid = padded_batches(leaves[0].shape[0], batch_size, parts)
        keeps = batch_sharding is not None and sum(leaf.nbytes for leaf in leaves) <= _KEPT
        self._kept: list[Any] | None = [] if keeps else None

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        """The batches in order, each with the number of its samples from the front that count."""
        for i, (indices, valid) in enumerate(zip(self._indices, self._valid, strict=True)):
            if self._kept is None:
                yield self._batch(indices), int(valid)
                continue
            if i == len(self._kept):
                self._kept.append(self._batch(indices))
            yield self._kept[i], int(valid)

    def _batch(self, indices: np.ndarray) -> Any:
        batch = jax.tree.map(lambda array: array[indices], self._data)
        return batch if self._sharding is None else sharding.place(batch, self._sharding)

    def map(self, function: Callable[[Any], Any]) -> Any:
        """Applies a jitted function of a batch to all samples.

        Args:
            function: of a batch; its results have the samples along the first axis.

        Returns:
            The results of the n samples in order, as NumPy arrays.
        """
        results, before = [], None
        for batch, valid in self:
            following = function(batch), valid
            if before is not None:  # Its results are read while the device works on this one.
                results.append(_read(*before))
            before = following
        assert before is not None
        results.append(_read(*before))
        return jax.tree.map(lambda *parts: np.concatenate(parts), *results)


def _read(result: Any, valid: int) -> Any:
    return jax.tree.map(lambda array: array[:valid], jax.device_get(result))


def map_batches(
    function: Callable[[Any], Any],
    data: Any,
    batch_size: int,
    batch_sharding: NamedSharding | None = None,
) -> Any:
    """`Batches.map` of a data set that is used once, and may have no samples."""
    if not jax.tree.leaves(data)[0].shape[0]:
        one = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype), data)
        shapes = jax.eval_shape(function, one)
        return jax.tree.map(lambda x: np.empty((0, *x.shape[1:]), x.dtype), shapes)
    return Batches(data, batch_size, batch_sharding).map(function)


def fitting_batch_size(count: int, largest: int) -> int:
    """The smallest power of two that holds `count` samples, at most `largest`.

    With few sizes there is little to compile, and a single image isn't padded to a whole batch.
    """
    return min(largest, 1 << max(count - 1, 0).bit_length())
