"""What a stage starts from, if not from random weights: those of the stage before it, or published ones."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from convnets_jax import zoo
from deeppose_jax.config import ModelConfig
from engine_jax.errors import UserError
from engine_jax.state import TrainState


def read_features(config: ModelConfig) -> dict[str, jax.Array]:
    """The arrays of `config.weights`, by their places in a Regressor.

    Raises:
        UserError: when the file can't be read, or holds another architecture.
    """
    # Imported late: training from random weights doesn't need its reader of files.
    from convnets_jax import torchvision

    features = zoo.create_features(config.backbone, rngs=nnx.Rngs(0))
    torchvision.load(features, config.weights)
    place = "backbone.bottom_up" if config.top_down else "backbone"
    leaves = jax.tree_util.tree_leaves_with_path(nnx.state(features))
    return {f"{place}.{_name(path)}": leaf for path, leaf in leaves}


def started_from_weights(state: TrainState, config: ModelConfig, placed: Any) -> TrainState:
    """A stage's first state with the weights of `config.weights`; each joint's network gets a copy.

    Args:
        state: with random weights.
        config: of the stage's network.
        placed: the state's sharding.

    Raises:
        UserError: as `read_features` does.
    """

    @partial(jax.jit, out_shardings=placed)
    def start(state: TrainState, loaded: dict[str, jax.Array]) -> TrainState:
        def copy(path: Any, leaf: jax.Array) -> jax.Array:
            return jnp.broadcast_to(loaded.get(_name(path), leaf), leaf.shape)

        copied = partial(jax.tree_util.tree_map_with_path, copy)
        return TrainState(
            state.step, copied(state.params), copied(state.model_state), state.opt_state
        )

    return start(state, read_features(config))


def started_from(state: TrainState, previous: TrainState, placed: Any, number: int) -> TrainState:
    """A refiner's first state with the previous stage's backbone, and its head where that has the same shape.

    Each joint's network gets a copy of a backbone that all joints shared.
    """

    @partial(jax.jit, out_shardings=placed)
    def start(state: TrainState, previous: TrainState) -> TrainState:
        return TrainState(
            state.step,
            copied(state.params, previous.params, number),
            copied(state.model_state, previous.model_state, number),
            state.opt_state,
        )

    return start(state, previous)


def copied(new: Any, old: Any, number: int) -> Any:
    """A stage's variables with those of the stage before it wherever path and shape fit.

    Raises:
        UserError: when the backbones are of different architectures.
    """
    sources = {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(old)}

    def copy(path: Any, leaf: jax.Array) -> jax.Array:
        name = _name(path)
        source = sources.get(name)
        if source is not None and source.shape in (leaf.shape, leaf.shape[1:]):
            return jnp.broadcast_to(source, leaf.shape)
        if "backbone" in name:
            found = "missing" if source is None else source.shape
            raise UserError(
                "config.refiner.start: 'previous' takes the same backbone in config.model and "
                f"config.refiner.model; {name} of stage {number - 1} is {found}, "
                f"of stage {number} {leaf.shape}"
            )
        return leaf

    return jax.tree_util.tree_map_with_path(copy, new)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
