"""Transfer learning: which parts of a network are trained.

The three ways of the usual lecture: only a new last layer, `train=("logits",)`; named blocks beside it,
`train=("features.stages.3", "logits")`; and a new head of several layers, `train=("head", "logits")` with the layers
given in the model's config.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx import filterlib
from jax.typing import DTypeLike

from convnets_jax import initializers
from convnets_jax.classifiers import apply_hidden, hidden_layers
from convnets_jax.features import Features
from engine_jax.config import AtLeastOne, AtLeastZero
from engine_jax.errors import UserError
from engine_jax.optimizer import block_of
from engine_jax.phases import Phase, frozen_name, make_phases
from engine_jax.plan import Plan


@dataclass(frozen=True)
class TransferConfig:
    """Which parts of a network are trained.

    A block is named by its place in the network, as in "features.stages.3"; "" is the whole network.

    Attributes:
        train: the blocks that are trained, besides layers named "logits": those of the classes, of auxiliary
            classifiers too, are new and so always trained. The others are frozen: their parameters don't change and
            have no optimiser state, and their batch norms keep the running statistics.
        thaw_after_epochs: epochs after which all blocks are trained; None keeps them frozen.
        thaw_after_steps: the same in optimiser steps, instead of `thaw_after_epochs`.
        rates: factors of the learning rate, as (block, factor); that of the longest name that fits counts, 1 elsewhere.
    """

    train: tuple[str, ...] = ("",)
    thaw_after_epochs: Annotated[int, AtLeastOne] | None = None
    thaw_after_steps: Annotated[int, AtLeastOne] | None = None
    rates: tuple[tuple[str, Annotated[float, AtLeastZero]], ...] = ()

    def check(self, epochs: int) -> None:
        """Raises a UserError that names the field if blocks would thaw after the end of training, or twice."""
        if self.thaw_after_epochs and self.thaw_after_steps:
            raise UserError(
                f"config.transfer.thaw_after_steps: {self.thaw_after_steps}, but config.transfer.thaw_after_epochs "
                f"is {self.thaw_after_epochs}; accepted: one of the two, the other None"
            )
        if self.thaw_after_epochs and self.thaw_after_epochs >= epochs:
            raise UserError(
                f"config.transfer.thaw_after_epochs: {self.thaw_after_epochs} of {epochs} epochs; "
                "accepted: less than config.train.epochs, or None to keep the blocks frozen"
            )

    def trains(self, block: str) -> bool:
        """Whether a block's parameters are trained from the first step on."""
        return _is_trained(block, self.train)

    @property
    def thaws(self) -> bool:
        """Whether training ends with all blocks trained that were frozen at first."""
        return bool(self.thaw_after_epochs or self.thaw_after_steps)

    @property
    def trained_at_end(self) -> filterlib.Filter:
        """The filter of the parameters that the last phase trains."""
        return nnx.Param if self.thaws else trained_by(self.train)

    def phases(self, name: str, plan: Plan) -> list[Phase]:
        """The phases of training a network.

        Args:
            name: of the last phase.
            plan: for all phases together.

        Raises:
            UserError: when blocks would thaw after the end of training.
        """
        steps = self.thaw_after_steps
        if self.thaw_after_epochs:
            steps = self.thaw_after_epochs * plan.steps_per_epoch
        if steps and steps >= plan.steps:
            raise UserError(
                f"config.transfer.thaw_after_steps: {steps} of {plan.steps} steps; "
                "accepted: less, or None to keep the blocks frozen"
            )
        return make_phases(name, plan, trained_by(self.train), steps)

    def phase_names(self, name: str) -> list[str]:
        """The names of `phases`."""
        return [frozen_name(name), name] if self.thaws else [name]


def without_frozen_counts(transfer: Mapping[str, Any]) -> dict[str, Any]:
    """The stored values of format 0, which counted "frozen_epochs" and "frozen_steps", 0 for no end, in those of 1."""
    kept = {name: transfer[name] for name in ("train", "rates")}
    thawing = {
        "thaw_after_epochs": transfer["frozen_epochs"] or None,
        "thaw_after_steps": transfer["frozen_steps"] or None,
    }
    return kept | thawing


def trained_by(blocks: tuple[str, ...]) -> filterlib.Filter:
    """The filter that lets the parameters of these blocks through."""
    if "" in blocks:
        return nnx.Param

    def chosen(path: tuple[Any, ...], value: Any) -> bool:
        del value
        return _is_trained(".".join(map(str, path)), blocks)

    return nnx.All(nnx.Param, chosen)


def _is_trained(name: str, blocks: tuple[str, ...]) -> bool:
    return "logits" in name.split(".") or block_of(name, blocks) is not None


def check_blocks(model: nnx.Module, config: TransferConfig, field: str = "config.transfer") -> None:
    """Raises a UserError if the model lacks a named block.

    Args:
        model: which may be abstract.
        config: whose names are checked.
        field: what to call `config` in an error.

    Raises:
        UserError: naming the field, the block, and the blocks that there are.
    """
    paths = [path for path, _ in nnx.to_flat_state(nnx.state(model, nnx.Param))]
    names = [".".join(map(str, path)) for path in paths]
    given = [("train", block) for block in config.train]
    given += [("rates", block) for block, _ in config.rates]
    for attribute, block in given:
        if not any(block_of(name, (block,)) is not None for name in names):
            parent = _longest_parent(block, names)
            depth = parent.count(".") + 2 if parent else 1
            below = [name for name in names if block_of(name, (parent,)) is not None]
            accepted = dict.fromkeys(".".join(name.split(".")[:depth]) for name in below)
            raise UserError(
                f"{field}.{attribute}: the network has no block {block!r} with parameters; "
                f"accepted: {', '.join(accepted)}"
            )


def _longest_parent(block: str, names: list[str]) -> str:
    """The longest beginning of a block's name that is a block."""
    parts = block.split(".")
    for count in range(len(parts) - 1, 0, -1):
        parent = ".".join(parts[:count])
        if any(block_of(name, (parent,)) is not None for name in names):
            return parent
    return ""


class NewHead(nnx.Module):
    """New layers on the mean of a network's features: images [b, h, w, 3] -> logits [b, num_classes].

    Args:
        features: of any network of `convnets_jax.zoo`.
        hidden: widths of the hidden layers, each followed by a ReLU and dropout.
        num_classes: width of the last layer.
        dropout: share of each hidden layer's outputs that is dropped in training.
        dtype: of the hidden layers' activations; parameters and logits are float32.
        rngs: draws the parameters.

    Attributes:
        features: as given.
        head: the hidden layers.
        logits: the last layer.
    """

    def __init__(
        self,
        features: Features,
        hidden: tuple[int, ...],
        num_classes: int,
        dropout: float = 0.5,
        *,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.features = features
        self.head, _ = hidden_layers(features.out_channels, hidden, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        width = (features.out_channels, *hidden)[-1]
        self.logits = nnx.Linear(
            width, num_classes, kernel_init=initializers.normal(0.01), rngs=rngs
        )

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Logits [b, num_classes], float32, of images [b, h, w, 3]; in training, dropout draws from `rngs`."""
        x = self.features(x).mean((1, 2))  # [b, c]
        x = apply_hidden(x, self.head, self.dropout, rngs)
        return self.logits(x.astype(jnp.float32))  # [b, num_classes]
