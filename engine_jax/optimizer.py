"""Optimisers from a few numbers."""

from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import optax

from engine_jax.config import AtLeastZero, Positive


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam (Kingma and Ba, 2015), or AdamW where weights decay.

    Attributes:
        learning_rate: the highest.
        schedule: "constant", or "one_cycle": up along a cosine in the first tenth of training, down to 0 after it.
        weight_decay: decoupled, of all parameters with more than one axis; 0 is Adam.
    """

    learning_rate: Annotated[float, Positive]
    schedule: Literal["constant", "one_cycle"]
    weight_decay: Annotated[float, AtLeastZero]


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """The optimiser for a run of `steps` steps."""
    rate: optax.ScalarOrSchedule = config.learning_rate
    if config.schedule == "one_cycle":
        rate = optax.cosine_onecycle_schedule(steps, config.learning_rate, pct_start=0.1)
    if not config.weight_decay:
        return optax.adam(rate)
    return optax.adamw(rate, weight_decay=config.weight_decay, mask=_decayed)


def _decayed(params: optax.Params) -> optax.Params:
    """Kernels decay; biases and normalisation's scales don't."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
