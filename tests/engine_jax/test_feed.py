from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from engine_jax import sharding
from engine_jax.errors import UserError
from engine_jax.feed import make_train_call
from engine_jax.lazy_images import LazyImages
from engine_jax.plan import Plan
from engine_jax.state import create_state

DATA = np.arange(1.0, 16.0, dtype=np.float32)  # 7 batches of 2, one sample is left over
PLACEMENTS = ("device", "stream", "files")


class Weighted(nnx.Module):
    """Its parameter is moved by every batch, so that its value tells the order of all."""

    def __init__(self, rngs):
        self.value = nnx.Param(jnp.zeros(()))


def step(state, batch):
    grads = jax.tree.map(lambda value: 0.5 * value - batch.mean(), state.params)
    return state.apply_gradients(optax.sgd(0.5), grads, state.model_state), batch.mean()


def in_files(broken=()):
    """`DATA` as images of one pixel; reading those at the places `broken` fails."""

    def read(i):
        if i in broken:
            raise UserError(f"{i}.png: damaged")
        return np.full((1, 1, 3), DATA[i], np.uint8)

    return LazyImages(read, [f"{i}.png" for i in range(len(DATA))], (1, 1, 3))


def trained(steps_per_call, placement, starts=(0,), balance=None, broken=()):
    """The parameter and the losses after two epochs, which are resumed at the steps `starts`."""
    plan = Plan(
        steps=14,
        steps_per_epoch=7,
        steps_per_call=steps_per_call,
        evaluate_every=1,
        patience=0,
        batch_size=2,
    )
    mesh = sharding.device_mesh(2)
    everywhere = sharding.replicated(mesh)
    state = create_state(Weighted, optax.sgd(0.5), jax.random.key(0), everywhere)
    data = in_files(broken) if placement == "files" else DATA
    make = partial(make_train_call, step, data, placement, plan, [3], everywhere)
    done, losses, lengths = 0, [], []
    for start, stop in zip(starts, (*starts[1:], plan.steps), strict=True):
        assert done == start
        train_call = make(sharding.split(mesh, axis=1), balance=balance)
        while done < stop:
            state, found = train_call(state, done)
            done += len(found)
            losses.append(np.asarray(found))
            lengths.append(len(found))
    return float(state.params["value"][...]), np.concatenate(losses), lengths


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_calls_of_any_length_take_the_same_steps(placement):
    value, losses, _ = trained(1, "device")
    assert len(set(losses.tolist())) > 7  # The epochs differ.
    for steps_per_call, lengths in ((3, [3, 3, 1] * 2), (5, [5, 2] * 2), (7, [7, 7])):
        found = trained(steps_per_call, placement)
        assert found[2] == lengths
        np.testing.assert_allclose(found[1], losses, rtol=1e-6)
        assert found[0] == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_run_resumed_within_an_epoch_takes_the_same_steps(placement):
    value, losses, _ = trained(1, placement)
    found = trained(3, placement, starts=(0, 6, 7, 13))
    assert found[2] == [3, 3, 1, 3, 3, 1]
    np.testing.assert_allclose(found[1], losses, rtol=1e-6)
    assert found[0] == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_balanced_batches_hold_every_class_equally_often(placement):
    few = np.arange(15) < 3  # The numbers 1, 2 and 3.
    _, losses, _ = trained(3, placement, balance=few.astype(int))
    sums = 2 * losses  # of one number of each class
    assert len(sums) == 14
    assert all(1 + 4 <= total <= 3 + 15 for total in sums)
    # The mean of a number of each class, 2 and 9.5, and not that of all numbers, 8.
    assert np.mean(sums) == pytest.approx(11.5, abs=2)


@pytest.mark.parametrize("broken", [(0,), range(15)], ids=["one", "all"])
def test_a_file_that_cannot_be_read_ends_training_with_its_name(broken):
    with pytest.raises(UserError, match=r"^\d+\.png: damaged"):
        trained(3, "files", broken=broken)


@pytest.mark.parametrize("placement", ["device", "stream"])
def test_a_compiled_program_holds_no_fixed_argument(placement):
    """Programs of two seeds are the same, so that the second one finds what the first compiled."""
    mesh = sharding.device_mesh(2)
    everywhere = sharding.replicated(mesh)
    plan = Plan(14, 7, steps_per_call=7, evaluate_every=1, patience=0, batch_size=2)
    programs, losses = [], []

    def scaled(state, batch, *, key, scales):
        programs.append((key, scales["of_all"]))
        return step(state, batch * scales["of_all"] + jax.random.uniform(key))

    for seed, scale in ((0, 1.0), (1, 2.0)):
        state = create_state(Weighted, optax.sgd(0.5), jax.random.key(0), everywhere)
        fixed = {"key": jax.random.key(seed), "scales": {"of_all": np.float32(scale)}}
        batches = sharding.split(mesh, axis=1)
        call = make_train_call(scaled, DATA, placement, plan, [3], everywhere, batches, fixed=fixed)
        losses.append(np.asarray(call(state, 0)[1]) - np.asarray(jax.random.uniform(fixed["key"])))
    assert all(isinstance(value, jax.core.Tracer) for traced in programs for value in traced)
    np.testing.assert_allclose(losses[1], 2 * losses[0], rtol=1e-5)
