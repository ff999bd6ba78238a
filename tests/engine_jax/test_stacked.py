import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from engine_jax.sharding import device_mesh, replicated
from engine_jax.stacked import over_stack, stacked
from engine_jax.state import abstract_variables, create_state


def linear(rngs):
    return nnx.Linear(3, 2, rngs=rngs)


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_the_results_are_vmaps(platform, monkeypatch):
    """In the form that each platform takes."""
    monkeypatch.setattr("engine_jax.stacked.platform", lambda: platform)

    def function(tree, y):
        return {"sum": tree["x"].sum() + y, "x": tree["x"] * y}

    trees = {"x": jnp.arange(12.0).reshape(3, 4)}, jnp.array([1.0, -2.0, 5.0])
    expected = jax.vmap(function)(*trees)
    found = jax.jit(lambda *trees: over_stack(function, *trees))(*trees)
    assert jax.tree.all(jax.tree.map(np.array_equal, found, expected))


def test_networks_side_by_side_have_weights_and_optimiser_states_of_their_own():
    everywhere = replicated(device_mesh())
    optimizer = optax.adam(0.1)
    state = create_state(linear, optimizer, jax.random.key(0), everywhere, stack=2)
    kernel = state.params["kernel"][...]
    assert kernel.shape == (2, 3, 2)
    assert not np.array_equal(kernel[0], kernel[1])
    assert state.step.shape == ()
    like = abstract_variables(linear, everywhere, stack=2)
    assert jax.tree.map(jnp.shape, state.variables) == jax.tree.map(jnp.shape, like)
    counts = state.opt_state[0].count
    assert counts.shape == (2,)
    again = stacked(optimizer).init(state.params)
    assert jax.tree.map(jnp.shape, again) == jax.tree.map(jnp.shape, state.opt_state)


def test_without_a_stack_there_is_no_such_axis():
    state = create_state(linear, optax.adam(0.1), jax.random.key(0), replicated(device_mesh()))
    assert state.params["kernel"][...].shape == (3, 2)
