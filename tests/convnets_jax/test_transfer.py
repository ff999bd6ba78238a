from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from convnets_jax.transfer import TransferConfig, check_blocks, trained_by
from engine_jax import sharding
from engine_jax.errors import UserError
from engine_jax.state import abstract_model, create_state, graph_defs


class Net(nnx.Module):
    def __init__(self, *, rngs):
        self.blocks = nnx.List([Block(rngs=rngs), Block(rngs=rngs)])
        self.logits = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return self.logits(x)


class Block(nnx.Module):
    def __init__(self, *, rngs):
        self.linear = nnx.Linear(4, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, momentum=0.5, rngs=rngs)

    def __call__(self, x):
        return nnx.relu(self.norm(self.linear(x)))


@cache
def one_step(train):
    """The state before and after a step that trains these blocks."""
    trained, optimizer = trained_by(train), optax.adam(0.1)
    everywhere = sharding.replicated(sharding.device_mesh())
    state = create_state(Net, optimizer, jax.random.key(0), everywhere, trained=trained)
    graphdef = graph_defs(Net, trained).train
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)

    def loss_of(params):
        model = nnx.merge(graphdef, params, state.model_state, copy=True)
        loss = jnp.square(model(x) - 1).mean()
        return loss, nnx.state(model, nnx.Not(trained))

    @jax.jit
    def step(state):
        grads, model_state = jax.grad(loss_of, has_aux=True)(state.params)
        return state.apply_gradients(optimizer, grads, model_state)

    return state, step(state)


def flat(state):
    return {
        ".".join(map(str, path)): np.asarray(value)
        for part in (state.params, state.model_state)
        for path, value in nnx.to_flat_state(nnx.as_pure(part))
    }


@pytest.mark.parametrize(
    "train", [("",), ("logits",), ("blocks.1", "logits")], ids=["all", "last", "block"]
)
def test_only_the_named_blocks_change_statistics_and_all(train):
    before, after = one_step(train)
    old, new = flat(before), flat(after)
    assert old.keys() == new.keys()
    changed = {name for name in old if not np.array_equal(old[name], new[name])}
    named = {name for name in old if any(name.startswith(block) for block in train)}
    # A bias before batch norm has no gradient but for rounding, of which Adam makes a step or none.
    idle = {"blocks.0.linear.bias", "blocks.1.linear.bias"}
    assert changed - idle == named - idle
    assert changed <= named


def test_frozen_parameters_have_no_optimiser_state():
    state, _ = one_step(("logits",))
    moments = state.opt_state[0].mu
    assert [path for path, _ in nnx.to_flat_state(moments)] == [
        ("logits", "bias"),
        ("logits", "kernel"),
    ]


def test_frozen_batch_norm_works_with_its_running_statistics():
    graphdef = graph_defs(Net, trained_by(("blocks.1", "logits"))).train
    model = nnx.merge(graphdef, *nnx.split(abstract_model(Net))[1:])
    assert [block.norm.use_running_average for block in model.blocks] == [True, False]


@pytest.mark.parametrize(
    ("train", "rates", "message"),
    [
        (("block",), (), "transfer.train: .* no block 'block' .* accepted: blocks, logits"),
        (("blocks.2",), (), "no block 'blocks.2' .* accepted: blocks.0, blocks.1"),
        (("",), (("logit", 0.1),), "transfer.rates: .* no block 'logit' "),
        (("blocks.0.norms",), (), "accepted: blocks.0.linear, blocks.0.norm$"),
    ],
)
def test_a_block_that_does_not_exist_is_named(train, rates, message):
    model = abstract_model(Net)
    with pytest.raises(UserError, match=message):
        check_blocks(model, TransferConfig(train, rates=rates))


def test_blocks_that_exist_pass():
    model = abstract_model(Net)
    check_blocks(
        model, TransferConfig(("", "blocks.0.norm"), rates=(("blocks", 0.1), ("logits.bias", 2.0)))
    )
