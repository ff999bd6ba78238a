"""Several processes that train together, of which one is told to stop, as of a machine that is taken away."""

import itertools

import jax
from jax.experimental import multihost_utils

_points = itertools.count(1)


def all_stop() -> bool:
    """Whether all processes stop here, because one of them got SIGTERM; every process has to ask equally often.

    Where processes train together, JAX takes this signal to itself and makes them agree on one of the next points at
    which they ask. A process alone hears of it by `engine_jax.interruption`.
    """
    return jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(next(_points))
