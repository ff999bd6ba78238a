"""Random numbers of a run: each purpose has its own, derived from one seed and the purpose's name.

Two purposes never share numbers, within a run or between runs of different seeds: the order of the samples and the
random weights are independent, for example, and so are stage 1 and stage 2.
"""

import zlib
from typing import Annotated

import jax

from engine_jax.config import Range

# A run's seed, as a configuration gives it.
Seed = Annotated[int, Range(0, 2**63 - 1)]

_LOW = 2**32  # JAX makes a key of 32 bits at a time


def root_key(seed: int) -> jax.Array:
    """The key of a seed in [0, 2^63): that of `jax.random.key` below 2^32, and a different one for each seed above."""
    key = jax.random.key(seed % _LOW)
    return jax.random.fold_in(key, seed // _LOW) if seed >= _LOW else key


def key_for(seed: int, *purpose: str) -> jax.Array:
    """The key for one purpose of a run, such as `key_for(seed, "stage_1", "parameters")`."""
    key = root_key(seed)
    for name in purpose:
        key = jax.random.fold_in(key, _number(name))
    return key


def entropy_for(seed: int, *purpose: str) -> list[int]:
    """The same for NumPy: what `np.random.default_rng` takes, the same numbers on every machine."""
    return [seed, *map(_number, purpose)]


def _number(name: str) -> int:
    return zlib.crc32(name.encode())
