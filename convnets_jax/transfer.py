"""Transfer learning: which parts of a network are trained.

The three ways of the usual lecture: only a new last layer, `train=("logits",)`; named blocks beside it,
`train=("features.stages.3", "logits")`; and a new head of several layers, `train=("head", "logits")` with the layers
given in the model's config.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx import filterlib
from jax.typing import DTypeLike

from convnets_jax import initializers, zoo
from engine_jax.config import AtLeastZero
from engine_jax.errors import UserError
from engine_jax.loop import Fit
from engine_jax.optimizer import block_of
from engine_jax.state import TrainState
from engine_jax.writer import read_metrics


@dataclass(frozen=True)
class TransferConfig:
    """Which parts of a network are trained.

    A block is named by its place in the network, as in "features.stages.3"; "" is the whole network.

    Attributes:
        train: the blocks that are trained. The others are frozen: their parameters stay and have no state of the
            optimiser, and their batch norms keep the running statistics.
        frozen_epochs: epochs after which the freeze ends and all is trained; 0 never ends it.
        rates: factors of the learning rate, as (block, factor); that of the longest name that fits counts, 1 elsewhere.
    """

    train: tuple[str, ...]
    frozen_epochs: Annotated[int, AtLeastZero]
    rates: tuple[tuple[str, Annotated[float, AtLeastZero]], ...]

    def check(self, epochs: int) -> None:
        """Finds a freeze that doesn't end before training does.

        Raises:
            UserError: naming the field.
        """
        if self.frozen_epochs >= epochs:
            raise UserError(
                f"config.transfer.frozen_epochs: {self.frozen_epochs} of {epochs} epochs; "
                "accepted: less than config.train.epochs, or 0 to freeze in all of them"
            )


@dataclass(frozen=True)
class Phase:
    """A stretch of training in which the same parameters are trained.

    Attributes:
        name: in checkpoints/ and metrics.jsonl.
        epochs: how long.
        trained: which parameters.
    """

    name: str
    epochs: int
    trained: filterlib.Filter


def phases(config: TransferConfig, epochs: int, name: str) -> list[Phase]:
    """The phases of training what is called `name`: one, or two where a freeze ends; the last one's result counts."""
    chosen, frozen = trained_by(config.train), config.frozen_epochs
    if not frozen:
        return [Phase(name, epochs, chosen)]
    return [Phase(f"{name}_frozen", frozen, chosen), Phase(name, epochs - frozen, nnx.Param)]


def joined(before: Fit, after: Fit) -> Fit:
    """What came of two phases, one after the other; images/s are the second one's."""
    return replace(
        after,
        best_epoch=before.epochs + after.best_epoch,
        epochs=before.epochs + after.epochs,
        seconds=before.seconds + after.seconds,
    )


def history(path: Path, named: Sequence[Phase]) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl that belong to some phases, steps and epochs counted through all of them."""
    rows: list[dict[str, Any]] = []
    for phase in named:
        step, epoch = (rows[-1]["step"], rows[-1]["epoch"]) if rows else (0, 0)
        rows += [
            {**row, "step": row["step"] + step, "epoch": row["epoch"] + epoch}
            for row in read_metrics(path, phase.name)
        ]
    return rows


def started(
    state: TrainState, start: TrainState, graphdef: nnx.GraphDef, trained: filterlib.Filter
) -> TrainState:
    """A phase's first state with the variables of another state, whichever of these were trained there."""
    model = nnx.merge(graphdef, start.params, start.model_state)
    params, model_state = nnx.state(model, trained, ...)
    return replace(state, params=params, model_state=model_state)


def trained_by(blocks: tuple[str, ...]) -> filterlib.Filter:
    """The filter that lets the parameters of these blocks through."""
    if "" in blocks:
        return nnx.Param

    def chosen(path: tuple[Any, ...], value: Any) -> bool:
        del value
        return block_of(".".join(map(str, path)), blocks) is not None

    return nnx.All(nnx.Param, chosen)


def check_blocks(model: nnx.Module, config: TransferConfig, field: str = "config.transfer") -> None:
    """Finds names of blocks that the model doesn't have.

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
    """Features of a network, averaged over the image, and new layers on them: images [b, h, w, 3] -> [b, num_classes].

    Args:
        features: of any network of `convnets_jax.zoo`.
        hidden: widths of the hidden layers, which end in a ReLU and dropout.
        num_classes: width of the last layer.
        dropout: the part of each hidden layer's outputs that is dropped in training.
        dtype: of the hidden layers' activations; parameters and logits are float32.
        rngs: draws the parameters.

    Attributes:
        features: as given.
        head: the hidden layers.
        logits: the last layer.
    """

    def __init__(
        self,
        features: zoo.Features,
        hidden: tuple[int, ...],
        num_classes: int,
        dropout: float = 0.5,
        *,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.features = features
        self.head = nnx.List([])
        width, he = features.out_channels, initializers.he_normal()
        for fan_out in hidden:
            self.head.append(nnx.Linear(width, fan_out, dtype=dtype, kernel_init=he, rngs=rngs))
            width = fan_out
        self.dropout = nnx.Dropout(dropout)
        self.logits = nnx.Linear(
            width, num_classes, kernel_init=initializers.normal(0.01), rngs=rngs
        )

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Logits [b, num_classes], float32, of images [b, h, w, 3]; in training, dropout draws from `rngs`."""
        x = self.features(x).mean((1, 2))  # [b, c]
        for linear in self.head:
            x = self.dropout(nnx.relu(linear(x)), rngs=rngs)
        return self.logits(x.astype(jnp.float32))  # [b, num_classes]
