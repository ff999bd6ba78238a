"""Phases of training, each with its own set of trained parameters: before frozen ones thaw, and after it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flax import nnx
from flax.nnx import filterlib

from engine_jax.plan import Plan
from engine_jax.writer import read_metrics


@dataclass(frozen=True)
class Phase:
    """A part of training in which the same parameters are trained.

    Attributes:
        name: in checkpoints/ and metrics.jsonl.
        plan: how long it takes.
        trained: which parameters.
    """

    name: str
    plan: Plan
    trained: filterlib.Filter = nnx.Param


def make_phases(
    name: str, plan: Plan, trained: filterlib.Filter, thaw_after: int | None
) -> list[Phase]:
    """The phases of training a network: one, or two where frozen parameters thaw.

    Args:
        name: of the last phase, whose result counts.
        plan: for all phases together.
        trained: the parameters that are trained from the start.
        thaw_after: steps after which all parameters are trained; None never thaws them.
    """
    if thaw_after is None:
        return [Phase(name, plan, trained)]
    first = Phase(frozen_name(name), plan.stretch(thaw_after), trained)
    return [first, Phase(name, plan.stretch(plan.steps - thaw_after))]


def frozen_name(name: str) -> str:
    """The name of the phase in which a network's frozen parameters have not thawed yet."""
    return f"{name}_frozen"


def history(path: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl that belong to the named phases, with steps and epochs counted through them."""
    rows: list[dict[str, Any]] = []
    for name in names:
        step, epoch = (rows[-1]["step"], rows[-1]["epoch"]) if rows else (0, 0)
        rows += [
            {**row, "step": row["step"] + step, "epoch": row["epoch"] + epoch}
            for row in read_metrics(path, name)
        ]
    return rows
