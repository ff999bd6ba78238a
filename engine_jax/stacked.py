"""Networks of one kind side by side: their arrays are stacked along a leading axis, a network for each entry."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from engine_jax.devices import platform


def over_stack(function: Callable[..., Any], *trees: Any) -> Any:
    """`function` of each entry of the trees' leading axis, as `jax.vmap` computes it; the results are stacked likewise.

    On CPU and GPU one after the other, since the grouped convolutions that `vmap` makes of networks are slow there: on
    an H200 fourteen AlexNets took 790 ms a step of 128 images each, one alone some 10.
    """
    if platform() == "tpu":
        return jax.vmap(function)(*trees)
    if platform() != "cpu":  # One program for all; on CPU convolutions are slow inside of a loop.
        return jax.lax.map(lambda each: function(*each), trees)
    count = jax.tree.leaves(trees)[0].shape[0]
    once = jax.jit(function)  # Traced and lowered once, instead of once for each entry.
    results = [once(*jax.tree.map(lambda x, i=i: x[i], trees)) for i in range(count)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)


def stacked(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimiser with a state for each entry of the parameters' leading axis."""
    return optax.GradientTransformation(jax.vmap(optimizer.init), jax.vmap(optimizer.update))
