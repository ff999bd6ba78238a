"""Optimisers from a few numbers."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import jax
import optax
from optax.contrib import ReduceLROnPlateauState, reduce_on_plateau

from engine_jax.config import AtLeastOne, AtLeastZero, Positive, Range


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam (Kingma and Ba, 2015), AdamW where weights decay, or gradient descent with momentum.

    Attributes:
        kind: "adam" or "sgd".
        learning_rate: the highest.
        schedule: "constant"; "one_cycle": up along a cosine in the first tenth of training, down to 0 after it; or
            "plateau": divided by ten after `plateau` evaluations in a row without a lower validation loss.
        plateau: see there.
        momentum: of "sgd".
        weight_decay: of all parameters with more than one axis; decoupled in AdamW, added to the gradients of "sgd".
    """

    kind: Literal["adam", "sgd"]
    learning_rate: Annotated[float, Positive]
    schedule: Literal["constant", "one_cycle", "plateau"]
    plateau: Annotated[int, AtLeastOne]
    momentum: Annotated[float, Range(0, 1, open_high=True)]
    weight_decay: Annotated[float, AtLeastZero]


def make_optimizer(
    config: OptimizerConfig, steps: int, rates: Mapping[str, float] | None = None
) -> optax.GradientTransformation:
    """The optimiser for `steps` steps.

    Args:
        config: which.
        steps: the length of a cycle.
        rates: factors of the learning rate of single modules, by their names, as in `block_of`; 1 elsewhere.
    """
    rate: optax.ScalarOrSchedule = config.learning_rate
    if config.schedule == "one_cycle":
        rate = optax.cosine_onecycle_schedule(steps, config.learning_rate, pct_start=0.1)
    parts = [_descent(config, rate)]
    if config.schedule == "plateau":
        parts.append(_scaled_by_plateau(config.plateau))
    if rates:
        parts.append(optax.stateless(partial(_scaled_by_block, rates)))
    return optax.chain(*parts) if len(parts) > 1 else parts[0]


def update_plateau(config: OptimizerConfig, opt_state: Any, loss: float) -> Any:
    """The updated optimiser state after an evaluation with this validation loss; only "plateau" depends on it."""
    if config.schedule != "plateau":
        return opt_state
    plateau = _plateau(config.plateau)

    def updated(state: Any) -> Any:
        if not _is_plateau(state):
            return state

        def update(state: ReduceLROnPlateauState) -> Any:
            return plateau.update((), state, value=loss)[1]

        # Networks side by side have a leading axis. Jitted, as arrays that several hosts share have to be.
        return jax.jit(jax.vmap(update) if state.scale.ndim else update)(state)

    return jax.tree.map(updated, opt_state, is_leaf=_is_plateau)


def block_of(name: str, blocks: Collection[str]) -> str | None:
    """The longest of some modules' names, such as "features.stages.3", that a variable's name begins with, or None.

    "" stands for the whole network.
    """
    found = [block for block in blocks if not block or f"{name}.".startswith(f"{block}.")]
    return max(found, key=len, default=None)


def _descent(config: OptimizerConfig, rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    decay = config.weight_decay
    if config.kind == "sgd":
        descent = optax.sgd(rate, momentum=config.momentum)
        return (
            optax.chain(optax.add_decayed_weights(decay, _decayed), descent) if decay else descent
        )
    return optax.adamw(rate, weight_decay=decay, mask=_decayed) if decay else optax.adam(rate)


def _decayed(params: optax.Params) -> optax.Params:
    """Kernels decay; biases and normalisation's scales don't."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def _plateau(patience: int) -> optax.GradientTransformationExtraArgs:
    # A relative tolerance would turn round where losses are below 0.
    return reduce_on_plateau(factor=0.1, patience=patience, rtol=0.0, atol=1e-6)


def _is_plateau(state: Any) -> bool:
    return isinstance(state, ReduceLROnPlateauState)


def _scaled_by_plateau(patience: int) -> optax.GradientTransformation:
    """Scales updates by the factor that `update_plateau` keeps in the state."""

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        del params
        return jax.tree.map(lambda update: state.scale * update, updates), state  # pyright: ignore

    return optax.GradientTransformation(_plateau(patience).init, update)


def _scaled_by_block(
    rates: Mapping[str, float], updates: optax.Updates, params: optax.Params | None
) -> optax.Updates:
    del params

    def scaled(path: tuple[Any, ...], update: jax.Array) -> jax.Array:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        block = block_of(name, rates)
        return update if block is None else rates[block] * update

    return jax.tree_util.tree_map_with_path(scaled, updates)
