"""Feeds a train step: batches gathered from a data set on the device, or sent from the host."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Int

from engine_jax import sharding
from engine_jax.loop import TrainCall
from engine_jax.order import SampleOrder
from engine_jax.placement import Placement
from engine_jax.plan import Plan
from engine_jax.state import TrainState
from engine_jax.stream import stream

Step = Callable[..., tuple[TrainState, jax.Array]]

S = TypeVar("S")
X = TypeVar("X")


def make_train_call(
    step: Step,
    data: Any,
    placement: Placement,
    plan: Plan,
    entropy: Sequence[int],
    state_sharding: Any,
    batch_sharding: NamedSharding,
    balance: Int[np.ndarray, " size"] | None = None,
    fixed: Mapping[str, Any] | None = None,
) -> TrainCall:
    """The jitted function that takes the steps of `plan.call` in one call.

    Args:
        step: one optimiser step of a state and a batch, `step(state, batch, **fixed)`; returns the new state and the
            loss.
        data: a tree of NumPy arrays with samples along the first axis; images may be `LazyImages`, except on devices.
        placement: whether the data are kept on the "device", or batches come from the host, gathered in its memory
            ("stream") or decoded from "files".
        plan: batch size and steps.
        entropy: seeds the order of the samples, see `engine_jax.randomness.entropy_for`.
        state_sharding: where the state is, a sharding or a tree of them.
        batch_sharding: how [steps, batch, ...] is split.
        balance: each sample's class, to draw all classes equally often; None visits every sample once an epoch.
        fixed: arguments of the step that are the same in all steps, by name: arrays, or trees of them. The compiled
            program doesn't hold them, so that it serves other seeds, and the next stage, too.
    """
    everywhere = NamedSharding(batch_sharding.mesh, PartitionSpec())
    placed = {"donate_argnums": 0, "out_shardings": (state_sharding, everywhere)}
    size = jax.tree.leaves(data)[0].shape[0]
    indices = SampleOrder(entropy, size, plan.batch_size, balance)
    held = jax.jit(lambda tree: tree, out_shardings=everywhere)(dict(fixed or {}))

    if placement == "device":
        data = sharding.place(data, everywhere)

        @partial(jax.jit, **placed)
        def from_device(
            state: TrainState, data: Any, chosen: jax.Array, held: dict[str, Any]
        ) -> tuple[TrainState, jax.Array]:
            def gathered_step(state: TrainState, at: jax.Array) -> tuple[TrainState, jax.Array]:
                return step(state, jax.tree.map(lambda array: array[at], data), **held)

            return take_steps(gathered_step, state, chosen)

        def train_call(state: TrainState, done: int) -> tuple[TrainState, jax.Array]:
            chosen = sharding.place(indices(plan.call(done)), batch_sharding)
            return from_device(state, data, chosen, held)  # chosen: [steps, batch]

        return train_call

    @partial(jax.jit, **placed)
    def from_host(
        state: TrainState, batches: Any, held: dict[str, Any]
    ) -> tuple[TrainState, jax.Array]:
        return take_steps(partial(step, **held), state, batches)

    batches = None

    def train_call(state: TrainState, done: int) -> tuple[TrainState, jax.Array]:
        nonlocal batches
        if batches is None:
            batches = stream(data, indices, list(plan.calls(done)))
        return from_host(state, sharding.place(next(batches), batch_sharding), held)

    return train_call


def take_steps(
    step: Callable[[S, X], tuple[S, jax.Array]], state: S, inputs: X
) -> tuple[S, jax.Array]:
    """`jax.lax.scan`: one step for each entry of the inputs' first axis; the state and the losses.

    A single step is taken without a loop, because XLA's CPU backend runs convolutions inside of a
    loop ten to twenty times slower than outside.
    """
    if jax.tree.leaves(inputs)[0].shape[0] > 1:
        return jax.lax.scan(step, state, inputs)
    state, loss = step(state, jax.tree.map(lambda array: array[0], inputs))
    return state, loss[None]
