"""Published weights of classifiers as the start of a stage's backbone."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from convnets_jax import zoo
from deeppose_jax.config import ModelConfig
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


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
