"""Models with shapes in place of arrays."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from engine_jax.state import abstract_model, forget_traced, graph_defs

BUILT = []


class Net(nnx.Module):
    def __init__(self, width, *, rngs):
        BUILT.append(width)
        self.linear = nnx.Linear(3, width, rngs=rngs)
        self.dropout = nnx.Dropout(0.5)


@pytest.fixture(autouse=True)
def built():
    """The widths of the networks that a test builds, in their order."""
    forget_traced()
    BUILT.clear()
    return BUILT


def test_the_same_model_is_traced_once(built):
    for width in (4, 4, 5, 4):
        model = abstract_model(partial(Net, width))
        assert model.linear.kernel.get_value() == jax.ShapeDtypeStruct((3, width), jnp.float32)
    assert built == [4, 5]
    graph_defs(partial(Net, 5))
    assert built == [4, 5]
    forget_traced()
    abstract_model(partial(Net, 4))
    assert built == [4, 5, 4]


def test_another_platform_or_function_is_another_model(built, monkeypatch):
    abstract_model(partial(Net, 4))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    abstract_model(partial(Net, 4))
    abstract_model(lambda rngs: Net(4, rngs=rngs))
    abstract_model(lambda rngs: Net(4, rngs=rngs))
    assert built == [4] * 4


def test_what_is_done_to_a_model_changes_no_other():
    first = abstract_model(partial(Net, 4))
    first.linear.kernel.set_value(jnp.ones((3, 4)))
    first.linear.bias.set_value(jnp.ones(4))
    first.eval()
    first.more = nnx.Param(jnp.ones(2))
    second = abstract_model(partial(Net, 4))
    assert all(isinstance(x, jax.ShapeDtypeStruct) for x in jax.tree.leaves(nnx.state(second)))
    assert not second.dropout.deterministic
    assert not hasattr(second, "more")
