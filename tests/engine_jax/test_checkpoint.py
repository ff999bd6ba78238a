import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from engine_jax import sharding
from engine_jax.checkpoint import Checkpoints
from engine_jax.errors import UserError
from engine_jax.state import abstract_variables, create_state, graph_defs


class Net(nnx.Module):
    def __init__(self, width, *, rngs):
        self.linear = nnx.Linear(3, width, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.dropout = nnx.Dropout(0.5)

    def __call__(self, x, rngs=None):
        return self.dropout(self.norm(self.linear(x)), rngs=rngs)


def state_of(width):
    everywhere = sharding.replicated(sharding.device_mesh())
    return create_state(
        lambda rngs: Net(width, rngs=rngs), optax.adam(1e-3), jax.random.key(0), everywhere
    )


def test_a_state_comes_back_bit_for_bit(tmp_path):
    state = state_of(4)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(7, {"state": state, "best": np.asarray(0.1)})
    blank = {"state": jax.tree.map(jnp.zeros_like, state), "best": np.asarray(0.0)}
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step == 7
        restored = checkpoints.restore(blank)
    assert restored["best"] == 0.1
    assert jax.tree.structure(restored["state"]) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, restored["state"], state)


def test_only_the_newest_is_kept_and_a_step_can_be_written_again(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        for step, value in ((1, 1.0), (2, 2.0), (2, 3.0)):
            checkpoints.save(step, {"x": jnp.full(3, value)})
        restored = checkpoints.restore({"x": jnp.zeros(3)})
    np.testing.assert_array_equal(restored["x"], np.full(3, 3.0))
    assert [path.name for path in tmp_path.iterdir()] == ["2"]


def test_another_architecture_is_refused_by_name_and_shape(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"params": state_of(4).params})
        with pytest.raises(UserError, match=r"linear\.bias.* is \(4,\) there, \(5,\) in the model"):
            checkpoints.restore({"params": state_of(5).params})
    with (
        Checkpoints(tmp_path / "empty") as checkpoints,
        pytest.raises(UserError, match="no complete"),
    ):
        checkpoints.restore({"params": state_of(4).params})


def test_abstract_variables_are_the_states_shapes():
    everywhere = sharding.replicated(sharding.device_mesh())
    like = abstract_variables(lambda rngs: Net(4, rngs=rngs), everywhere)
    variables = state_of(4).variables
    assert jax.tree.map(jnp.shape, like) == jax.tree.map(jnp.shape, variables)


def test_the_two_graph_definitions_differ_in_dropout_and_batch_norm():
    state = state_of(4)
    graphs = graph_defs(lambda rngs: Net(4, rngs=rngs))
    x = jnp.arange(12.0).reshape(4, 3)

    def outputs(graphdef, seed):
        model = nnx.merge(graphdef, state.params, state.model_state, copy=True)
        return np.asarray(model(x, nnx.Rngs(dropout=seed)))

    assert np.array_equal(outputs(graphs.evaluate, 1), outputs(graphs.evaluate, 2))
    assert not np.array_equal(outputs(graphs.train, 1), outputs(graphs.train, 2))
