"""Checksums of arrays: what a checkpoint should hold, so that damage on disk is seen when it is read."""

import json
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

# Type, shape and CRC-32 of an array, as JSON holds them.
Entry = list[Any]


def describe(array: Any) -> Entry:
    """Type, shape and CRC-32 of a NumPy or JAX array; of one that is divided among processes, all of them call it."""
    if isinstance(array, jax.Array) and not (
        array.is_fully_addressable or array.is_fully_replicated
    ):
        array = multihost_utils.process_allgather(array, tiled=True)
    values = np.ascontiguousarray(array)
    crc = zlib.crc32(values.reshape(-1).view(np.uint8).data)
    return [str(values.dtype), list(np.shape(array)), crc]


def seal(arrays: Mapping[str, Entry]) -> dict[str, Any]:
    """Entries by name with a checksum of themselves, as JSON."""
    return {"arrays": dict(arrays), "crc32": _crc(arrays)}


def unseal(sealed: Any) -> dict[str, Entry] | None:
    """The entries that `seal` was given; None if they have changed since."""
    if not isinstance(sealed, dict) or not isinstance(sealed.get("arrays"), dict):
        return None
    return sealed["arrays"] if sealed.get("crc32") == _crc(sealed["arrays"]) else None


def _crc(arrays: Mapping[str, Entry]) -> int:
    return zlib.crc32(json.dumps(arrays, sort_keys=True).encode())
