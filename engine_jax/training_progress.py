"""What the loop keeps over a restart beside the state: the best evaluation, how long ago that was, and the seconds."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from engine_jax.plan import Plan


def first_progress() -> dict[str, Any]:
    """Before the first step; arrays, since it is saved with the state.

    "best_loss" is the lowest criterion, under the name that stored runs have it by.
    """
    return {
        "best_loss": np.asarray(np.inf),
        "best_step": np.asarray(0, np.int64),
        "stale": np.asarray(0, np.int64),
        "evaluated_step": np.asarray(0, np.int64),
        "train_seconds": np.asarray(0.0),
        "seconds": np.asarray(0.0),
    }


def after(progress: Mapping[str, Any], **seconds: float) -> dict[str, Any]:
    """The progress some seconds later."""
    return {**progress, **{name: progress[name] + value for name, value in seconds.items()}}


def judged(progress: Mapping[str, Any], step: int, value: float) -> tuple[dict[str, Any], bool]:
    """The progress after an evaluation whose criterion is `value`, and whether that was the best one so far."""
    improved = bool(np.isfinite(value) and value < progress["best_loss"])
    changed: dict[str, Any] = {"evaluated_step": np.asarray(step, np.int64)}
    if improved:
        changed["best_loss"] = np.asarray(value, np.float64)
        changed["best_step"] = np.asarray(step, np.int64)
    changed["stale"] = np.asarray(0 if improved else progress["stale"] + 1, np.int64)
    return {**progress, **changed}, improved


def is_finished(progress: Mapping[str, Any], plan: Plan) -> bool:
    """Whether training ends here: all epochs are trained, or patience is at its end."""
    stopped = plan.patience and progress["stale"] >= plan.patience
    # A run that was told to stop may have taken its last step without the evaluation that follows.
    return stopped or progress["evaluated_step"] >= plan.steps
