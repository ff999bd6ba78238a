"""Series of synthetic images: rendered in chunks from a seed, with the noise of textures and of a camera."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, UInt8

from engine_jax.errors import UserError
from engine_jax.randomness import root_key

_MOST = 2**31 - 1  # items of a series, whose numbers have 32 bits


def chunk_keys(key: PRNGKeyArray, first: Array, chunk: int) -> Key[Array, " chunk"]:
    """The random keys [chunk] of items `first`, `first` + 1, ... of the series of a key."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, first + jnp.arange(chunk))


def render_series(
    name: str,
    render: Callable[[PRNGKeyArray, int, int], Any],
    chunk: int,
    seed: int,
    count: int,
    size: int,
    start: int,
) -> Any:
    """Items `start` to `start + count - 1` of a seed's series, as NumPy arrays with a leading axis of `count`.

    An item always has the same place in its chunk, so that it is the same to the last bit in any range.

    Args:
        name: what is rendered, for error messages.
        render: (key, first, size) to a pytree of arrays with a leading axis of `chunk`, for the items from `first` on.
        chunk: number of items in a call.
        seed, count, size, start: the series, the number of items, their side in pixels, the first item's index.

    Raises:
        UserError: a count below 1, a size below 8, a negative start or seed, or more items than can be numbered.
    """
    for field, value, least in (
        ("seed", seed, 0),
        ("count", count, 1),
        ("size", size, 8),
        ("start", start, 0),
    ):
        if value < least:
            raise UserError(f"{name}: {field} is {value}, must be at least {least}")
    if start + count > _MOST:
        raise UserError(f"{name}: {count} from {start} on, must be at most {_MOST} in all")
    key, result = root_key(seed), None
    for first in range(start - start % chunk, start + count, chunk):
        rendered = jax.device_get(render(key, first, size))
        if result is None:
            result = jax.tree.map(lambda x: np.empty((count, *x.shape[1:]), x.dtype), rendered)
        skip, stop = max(start - first, 0), min(start + count - first, chunk)
        rows = slice(first + skip - start, first + stop - start)
        for whole, part in zip(jax.tree.leaves(result), jax.tree.leaves(rendered), strict=True):
            whole[rows] = part[skip:stop]
    return result


def octaves(
    size: int, periods: Sequence[int]
) -> tuple[Float[np.ndarray, "size n"], Int[np.ndarray, " n"]]:
    """Interpolation of value noise over a line of `size` pixels.

    Args:
        size: number of pixels.
        periods: number of values of each octave, n in all.

    Returns:
        A matrix that interpolates every octave's values linearly, and the octave's index of each value.
    """
    at = (np.arange(size)[:, None] + 0.5) / size
    hats = [np.maximum(1 - np.abs(at * (k - 1) - np.arange(k)), 0) for k in periods]
    return np.concatenate(hats, 1).astype(np.float32), np.repeat(np.arange(len(hats)), periods)


def photograph(
    key: PRNGKeyArray, picture: Float[Array, "3 s s"], strength: Float[Array, ""]
) -> UInt8[Array, "s s 3"]:
    """Adds camera noise of the given amplitude to colours in [0, 1], and converts them to bytes."""
    # Four bytes of one random word make three channels' noise and a common part.
    word = jax.random.bits(key, picture.shape[1:], jnp.uint32)
    grain = [((word >> shift) & 255).astype(jnp.float32) / 127.5 - 1 for shift in (0, 8, 16, 24)]
    noisy = picture + strength * (jnp.stack(grain[:3]) + grain[3])
    return jnp.round(jnp.clip(noisy, 0, 1) * 255).astype(jnp.uint8).transpose(1, 2, 0)
