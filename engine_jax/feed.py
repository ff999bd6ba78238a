"""Feeds a train step: batches gathered from a data set on the device, or sent from the host."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Int

from engine_jax import sharding
from engine_jax.loop import TrainCall, take_steps
from engine_jax.order import step_indices
from engine_jax.plan import Plan
from engine_jax.state import TrainState
from engine_jax.stream import stream

Step = Callable[[TrainState, Any], tuple[TrainState, jax.Array]]


def make_train_call(
    step: Step,
    data: Any,
    placement: Literal["device", "stream"],
    plan: Plan,
    entropy: Sequence[int],
    state_sharding: Any,
    batch_sharding: NamedSharding,
    balance: Int[np.ndarray, " size"] | None = None,
) -> TrainCall:
    """The jitted function that takes `plan.steps_per_call` steps in one call.

    Args:
        step: one optimiser step on one batch; returns the new state and the loss.
        data: a tree of NumPy arrays with samples along the first axis.
        placement: whether the data are kept on the "device", or a "stream" of batches comes from the host.
        plan: batch size and steps.
        entropy: seeds the order of the samples, see `engine_jax.randomness.entropy_for`.
        state_sharding: where the state is, a sharding or a tree of them.
        batch_sharding: how [steps, batch, ...] is split.
        balance: each sample's class, to draw all classes equally often; None visits every sample once an epoch.
    """
    everywhere = NamedSharding(batch_sharding.mesh, PartitionSpec())
    placed = {"donate_argnums": 0, "out_shardings": (state_sharding, everywhere)}
    size = jax.tree.leaves(data)[0].shape[0]

    def indices(call: int) -> np.ndarray:
        first = call * plan.steps_per_call
        return step_indices(entropy, first, plan.steps_per_call, size, plan.batch_size, balance)

    if placement == "device":
        data = sharding.place(data, everywhere)

        @partial(jax.jit, **placed)
        def from_device(
            state: TrainState, data: Any, chosen: jax.Array
        ) -> tuple[TrainState, jax.Array]:
            def gathered_step(state: TrainState, at: jax.Array) -> tuple[TrainState, jax.Array]:
                return step(state, jax.tree.map(lambda array: array[at], data))

            return take_steps(gathered_step, state, chosen)

        def train_call(state: TrainState, done: int) -> tuple[TrainState, jax.Array]:
            chosen = sharding.place(indices(done // plan.steps_per_call), batch_sharding)
            return from_device(state, data, chosen)  # chosen: [steps, batch]

        return train_call

    @partial(jax.jit, **placed)
    def from_host(state: TrainState, batches: Any) -> tuple[TrainState, jax.Array]:
        return take_steps(step, state, batches)

    calls = plan.steps // plan.steps_per_call
    batches = None

    def train_call(state: TrainState, done: int) -> tuple[TrainState, jax.Array]:
        nonlocal batches
        if batches is None:
            batches = stream(data, indices, calls, first=done // plan.steps_per_call)
        return from_host(state, sharding.place(next(batches), batch_sharding))

    return train_call
