"""Phases of training: before a freeze ends, and after it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flax import nnx
from flax.nnx import filterlib

from convnets_jax.transfer import TransferConfig, trained_by
from engine_jax.errors import UserError
from engine_jax.loop import Fit
from engine_jax.plan import Plan
from engine_jax.state import TrainState
from engine_jax.writer import read_metrics


@dataclass(frozen=True)
class Phase:
    """A stretch of training in which the same parameters are trained.

    Attributes:
        name: in checkpoints/ and metrics.jsonl.
        trained: which parameters.
    """

    name: str
    trained: filterlib.Filter


def phases(config: TransferConfig, name: str) -> list[Phase]:
    """The phases of training what is called `name`: one, or two where a freeze ends; the last one's result counts."""
    chosen = trained_by(config.train)
    if config.frozen_epochs or config.frozen_steps:
        return [Phase(f"{name}_frozen", chosen), Phase(name, nnx.Param)]
    return [Phase(name, chosen)]


def plans(config: TransferConfig, plan: Plan) -> list[Plan]:
    """How long each of `phases` takes, of the plan for all of them.

    Raises:
        UserError: when the freeze doesn't end before training does.
    """
    frozen = config.frozen_steps or config.frozen_epochs * plan.steps_per_epoch
    if not frozen:
        return [plan]
    if frozen >= plan.steps:
        raise UserError(
            f"config.transfer.frozen_steps: {frozen} of {plan.steps} steps; accepted: less, or 0 to freeze in all of "
            "them"
        )
    return [plan.stretch(frozen), plan.stretch(plan.steps - frozen)]


def in_phases(
    named: Sequence[Phase],
    stretches: Sequence[Plan],
    train: Callable[[int, Phase, Plan, Fit | None], Fit],
) -> Fit:
    """Trains phase after phase.

    Args:
        named: the phases.
        stretches: how long each takes.
        train: trains for one phase, of its number from 0, itself, its plan, and what came of the phases before it.
    """
    fitted = None
    for number, (phase, plan) in enumerate(zip(named, stretches, strict=True)):
        after = train(number, phase, plan, fitted)
        fitted = after if fitted is None else joined(fitted, after)
    assert fitted is not None
    return fitted


def joined(before: Fit, after: Fit) -> Fit:
    """What came of two phases, one after the other; images/s are the second one's."""
    return replace(
        after,
        best_step=before.steps + after.best_step,
        steps=before.steps + after.steps,
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
