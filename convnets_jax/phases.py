"""Phases of training: before a freeze ends, and after it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flax import nnx
from flax.nnx import filterlib

from convnets_jax.transfer import TransferConfig, trained_by
from engine_jax.loop import Fit
from engine_jax.state import TrainState
from engine_jax.writer import read_metrics


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
