"""The state of a training run, and the static definitions of its model."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from flax.nnx import filterlib
from jax.sharding import Sharding
from jaxtyping import Array, Int

from engine_jax.devices import memory, platform
from engine_jax.errors import UserError

M = TypeVar("M", bound=nnx.Module)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Variables:
    """A model's variables, which `nnx.merge(graphdef, params, model_state)` makes a model of.

    Attributes:
        params: the trained parameters: all of `nnx.Param`, or those that a filter `trained` lets through.
        model_state: all other variables: batch norm's running statistics, frozen parameters.
    """

    params: Any
    model_state: Any

    def by_name(self) -> dict[str, jax.Array]:
        """Every array under its path in the model, such as "features.stages.0.conv.kernel"."""
        leaves = jax.tree_util.tree_leaves_with_path((self.params, self.model_state))
        return {variable_name(path[1:]): leaf for path, leaf in leaves}

    @property
    def parameter_count(self) -> int:
        """Parameters, trained and frozen."""
        frozen = nnx.filter_state(self.model_state, nnx.Param)
        return sum(leaf.size for leaf in jax.tree.leaves((self.params, frozen)))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """What one optimiser step takes and returns.

    Attributes:
        step: how many steps have been taken.
        params: see `Variables`.
        model_state: see `Variables`.
        opt_state: the optimiser's state.
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

    @property
    def variables(self) -> Variables:
        """The model's variables."""
        return Variables(self.params, self.model_state)

    def with_variables(self, named: Mapping[str, jax.Array]) -> "TrainState":
        """The state with the arrays of `named` (see `Variables.by_name`) in place of its own, on the same devices.

        Where the state holds several networks, each gets a copy. Variables that are not named stay as they are.
        """

        def replaced(path: Any, leaf: jax.Array, named: Mapping[str, jax.Array]) -> jax.Array:
            return jnp.broadcast_to(named.get(variable_name(path[1:]), leaf), leaf.shape)

        def all_replaced(old: tuple[Any, Any], named: Mapping[str, jax.Array]) -> tuple[Any, Any]:
            return jax.tree_util.tree_map_with_path(partial(replaced, named=named), old)

        old = (self.params, self.model_state)
        placed = jax.tree.map(lambda leaf: leaf.sharding, old)
        params, model_state = jax.jit(all_replaced, out_shardings=placed)(old, dict(named))
        return TrainState(self.step, params, model_state, self.opt_state)


def variables_by_name(model: nnx.Module) -> dict[str, jax.Array]:
    """Every array of a model under its path, as `Variables.by_name` has them."""
    leaves = jax.tree_util.tree_leaves_with_path(nnx.state(model))
    return {variable_name(path): leaf for path, leaf in leaves}


def variable_name(path: Any) -> str:
    """A variable's path in its model as text, such as "features.stages.0.conv.kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value")


@dataclass(frozen=True)
class GraphDefs:
    """A model's static definitions for training, with dropout and batch statistics, and for evaluation."""

    train: nnx.GraphDef
    evaluate: nnx.GraphDef


def abstract_model(build: Callable[..., M]) -> M:
    """The model that `build` makes, with shapes in place of arrays.

    A run asks for the same models again and again, and tracing one takes long: what a `partial` of the same function
    and hashable arguments makes is traced once.
    """
    if isinstance(build, partial):
        keywords = tuple(build.keywords.items())
        split = _traced(build.func, build.args, keywords, platform())
        return nnx.merge(*split, copy=True)  # of its variables, which the caller may set
    return _trace(build)


def forget_traced() -> None:
    """Lets `abstract_model` trace every model again, for what it cannot see: a name that stands for another network."""
    _traced.cache_clear()


@lru_cache(maxsize=32)
def _traced(
    function: Callable[..., nnx.Module], args: tuple, keywords: tuple, backend: str
) -> tuple[nnx.GraphDef, nnx.State]:
    """The platform `backend` may decide on the type of activations."""
    del backend
    return nnx.split(_trace(partial(function, *args, **dict(keywords))))


def _trace(build: Callable[..., M]) -> M:
    def model() -> M:
        rngs = nnx.Rngs(0)
        rngs.default = _OneKey(0, tag="default")  # pyright: ignore[reportAttributeAccessIssue]
        return build(rngs=rngs)

    return nnx.eval_shape(model)


def check_memory(model: nnx.Module, field: str, copies: int = 1) -> None:
    """Checks that as many copies of a model have parameters that a device can hold.

    Args:
        model: from `abstract_model`.
        field: of the configuration that describes the model.
        copies: of the model, on each device.

    Raises:
        UserError: otherwise.
    """
    leaves = jax.tree.leaves(nnx.state(model))
    size = copies * sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
    if size > (most := memory()):
        raise UserError(
            f"{field}: {size / 2**30:,.0f} GiB of parameters; accepted: at most {most / 2**30:,.0f} GiB, "
            "the device's memory"
        )


class _OneKey(nnx.RngStream):
    """Returns the same key every time: shapes don't depend on it, and counting keys takes long in a trace."""

    def __call__(self) -> jax.Array:
        return self.key[...]


def graph_defs(
    build: Callable[..., nnx.Module], trained: filterlib.Filter = nnx.Param
) -> GraphDefs:
    """Both graph definitions of the model that `build` makes, without allocating its arrays.

    Batch norms whose scale and bias are not `trained` use their running statistics in training too, and keep them.
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
) -> Variables:
    """Shapes and shardings of a model's variables, to restore a checkpoint into.

    `stack` and `trained` are those of `create_state`.
    """
    _, params, model_state = nnx.split(abstract_model(build), trained, ...)
    axes = () if stack is None else (stack,)

    def placed(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((*axes, *leaf.shape), leaf.dtype, sharding=sharding)

    return jax.tree.map(placed, Variables(params, model_state))


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
        stack: the number of models side by side, each with its own random weights, along a leading axis of all arrays
            except the step; None is one model without such an axis.
        trained: which variables are `params`; all others are frozen and have no state of the optimiser.
    """

    def init(key: jax.Array) -> tuple[Any, Any, Any]:
        _, params, model_state = nnx.split(build(rngs=nnx.Rngs(key)), trained, ...)
        return params, model_state, optimizer.init(params)

    def first(key: jax.Array) -> TrainState:
        found = init(key) if stack is None else jax.vmap(init)(jax.random.split(key, stack))
        return TrainState(jnp.zeros((), jnp.int32), *found)

    return jax.jit(first, out_shardings=sharding)(key)
