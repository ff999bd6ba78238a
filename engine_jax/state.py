"""What a training run carries from one step to the next."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from flax.nnx import filterlib
from jax.sharding import Sharding
from jaxtyping import Array, Int

M = TypeVar("M", bound=nnx.Module)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """One run's arrays.

    Attributes:
        step: how many steps have been taken.
        params: the trained parameters: all of `nnx.Param`, or those that a filter `trained` lets through.
        model_state: the model's other variables: batch norm's running statistics, frozen parameters.
        opt_state: the optimiser's.
    """

    step: Int[Array, ""]
    params: Any
    model_state: Any
    opt_state: Any

    def apply_gradients(
        self, optimizer: optax.GradientTransformation, grads: Any, model_state: Any
    ) -> "TrainState":
        """The state after one update of the parameters with `grads`."""
        updates, opt_state = optimizer.update(grads, self.opt_state, self.params)
        params = optax.apply_updates(self.params, updates)
        return TrainState(self.step + 1, params, model_state, opt_state)


@dataclass(frozen=True)
class GraphDefs:
    """One model's two static definitions: dropout active and batch statistics learnt, or neither."""

    train: nnx.GraphDef
    evaluate: nnx.GraphDef


def abstract_model(build: Callable[..., M]) -> M:
    """The model that `build` makes, with shapes in place of arrays."""

    def model() -> M:
        rngs = nnx.Rngs(0)
        rngs.default = _OneKey(0, tag="default")  # pyright: ignore[reportAttributeAccessIssue]
        return build(rngs=rngs)

    return nnx.eval_shape(model)


class _OneKey(nnx.RngStream):
    """Gives the same key every time: shapes don't depend on it, and counting keys takes long in a trace."""

    def __call__(self) -> jax.Array:
        return self.key[...]


def graph_defs(
    build: Callable[..., nnx.Module], trained: filterlib.Filter = nnx.Param
) -> GraphDefs:
    """Both graph definitions of the model that `build` makes, without allocating its arrays.

    Batch norm whose scale and bias are not `trained` works with its running statistics in training too, and keeps them.
    """
    model = abstract_model(build)
    model.train()
    for module in _frozen_norms(model, trained):
        module.eval()
    train = nnx.graphdef(model)
    model.eval()
    return GraphDefs(train, nnx.graphdef(model))


def _frozen_norms(model: nnx.Module, trained: filterlib.Filter) -> list[nnx.BatchNorm]:
    norms = {path: node for path, node in nnx.iter_graph(model) if isinstance(node, nnx.BatchNorm)}
    learnt = {path[:-1] for path, _ in nnx.to_flat_state(nnx.state(model, trained))}
    return [norm for path, norm in norms.items() if path not in learnt]


def abstract_variables(
    build: Callable[..., nnx.Module],
    sharding: Sharding,
    stack: int | None = None,
    trained: filterlib.Filter = nnx.Param,
) -> tuple[Any, Any]:
    """Shapes and shardings of a model's trained parameters and other variables, to restore a checkpoint into.

    `stack` and `trained` are those of `create_state`.
    """

    _, params, model_state = nnx.split(abstract_model(build), trained, ...)
    axes = () if stack is None else (stack,)

    def placed(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((*axes, *leaf.shape), leaf.dtype, sharding=sharding)

    return jax.tree.map(placed, (params, model_state))


def create_state(
    build: Callable[..., nnx.Module],
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    sharding: Sharding,
    stack: int | None = None,
    trained: filterlib.Filter = nnx.Param,
) -> TrainState:
    """A model's first state, made on the devices that `sharding` names.

    Args:
        build: makes the model from its random streams, `rngs`.
        optimizer: whose state is made with the parameters.
        key: the seed of the parameters.
        sharding: where every array goes.
        stack: so many models side by side, each with its own random weights, along a leading axis of all arrays but
            the step; None is one model without such an axis.
        trained: which variables are `params`; all others are frozen and have no state of the optimiser.
    """

    def init(key: jax.Array) -> tuple[Any, Any, Any]:
        _, params, model_state = nnx.split(build(rngs=nnx.Rngs(key)), trained, ...)
        return params, model_state, optimizer.init(params)

    def first(key: jax.Array) -> TrainState:
        function, keys = _stacked(init, key, stack)
        return TrainState(jnp.zeros((), jnp.int32), *function(keys))

    return jax.jit(first, out_shardings=sharding)(key)


def _stacked(
    init: Callable[[jax.Array], Any], key: jax.Array, stack: int | None
) -> tuple[Callable[[jax.Array], Any], jax.Array]:
    """`init` of one model or of several, and its argument."""
    return (init, key) if stack is None else (jax.vmap(init), jax.random.split(key, stack))
