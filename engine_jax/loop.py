"""The loop that calls a train step: epochs, evaluation, early stopping, checkpoints and resumption."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import jax
import numpy as np
from flax import nnx
from flax.nnx import filterlib

from engine_jax import sharding
from engine_jax.checkpoint import Checkpoints
from engine_jax.errors import UserError
from engine_jax.plan import Plan, in_epochs
from engine_jax.progress import Progress
from engine_jax.run_folder import RunFolder
from engine_jax.state import TrainState, abstract_variables
from engine_jax.writer import MetricsWriter

# Takes the state and the host's step count; returns the state some steps later and the losses of those steps.
TrainCall = Callable[[TrainState, int], tuple[TrainState, jax.Array]]
# Takes the state; returns named metrics, among them "validation/loss".
Evaluate = Callable[[TrainState], Mapping[str, float]]
# Takes the optimiser's state and the validation loss; returns the optimiser's state after that news.
Observe = Callable[[Any, float], Any]

MONITORED = "validation/loss"

S = TypeVar("S")
X = TypeVar("X")


@dataclass(frozen=True)
class Fit:
    """What came of training.

    Attributes:
        best: the state with the lowest validation loss; its opt_state is the last one's.
        best_step: the steps that state had taken.
        steps: the steps taken in all.
        steps_per_epoch: how many make an epoch.
        seconds: training and evaluation, over all starts of the run.
        images_per_second: training only, over all starts of the run.
    """

    best: TrainState
    best_step: int
    steps: int
    steps_per_epoch: int
    seconds: float
    images_per_second: float

    @property
    def best_epoch(self) -> float:
        """The epochs that the best state had seen."""
        return in_epochs(self.best_step, self.steps_per_epoch)

    @property
    def epochs(self) -> float:
        """The epochs trained."""
        return in_epochs(self.steps, self.steps_per_epoch)


def fit(
    state: TrainState,
    train_call: TrainCall,
    evaluate: Evaluate,
    plan: Plan,
    folder: RunFolder,
    part: str,
    observe: Observe = lambda opt_state, loss: opt_state,
) -> Fit:
    """Trains `state`, going on from the folder's last checkpoint of this part if there is one.

    A checkpoint is written after every evaluation. A killed run repeats the epochs since then, step for step. A part
    that was finished before is only read.

    Args:
        state: the first state, which is donated.
        train_call: see TrainCall.
        evaluate: see Evaluate.
        plan: how long.
        folder: where checkpoints and metrics go.
        part: what is trained, where a run trains several networks one after the other.
        observe: tells the optimiser about evaluations, see Observe.

    Raises:
        UserError: when the folder's checkpoint holds another architecture.
        UserError: when the loss is no longer finite.
    """
    progress = _first_progress()
    epochs = partial(in_epochs, steps_per_epoch=plan.steps_per_epoch)
    with (
        Checkpoints(folder.checkpoints / part / "last") as last,
        Checkpoints(folder.checkpoints / part / "best") as best,
    ):
        if last.latest_step is not None:
            resumed = last.restore({"state": state, "progress": progress})
            state, progress = resumed["state"], resumed["progress"]
        step = int(state.step)
        with (
            MetricsWriter(folder.metrics, part, step) as writer,
            Progress(plan.steps, step, plan.batch_size) as bar,
        ):
            if step:
                verb = "finished" if _finished(step, progress, plan) else "resuming"
                bar.line(f"{part}: {verb} at epoch {epochs(step):g}")
            while not _finished(step, progress, plan):
                start = time.monotonic()
                until = min(step + plan.evaluate_every * plan.steps_per_epoch, plan.steps)
                while step < until:
                    state, step = _take_call(state, step, train_call, plan, writer, bar)
                trained = time.monotonic() - start
                metrics = evaluate(state)
                opt_state = observe(state.opt_state, metrics[MONITORED])
                state = replace(state, opt_state=opt_state)
                writer.write(step, epochs(step), metrics)
                bar.line(
                    f"{part}, epoch {epochs(step):g}/{epochs(plan.steps):g}: {_validation(metrics)}"
                )
                improved = metrics[MONITORED] < progress["best_loss"]
                progress = {
                    "best_loss": np.asarray(
                        metrics[MONITORED] if improved else progress["best_loss"], np.float64
                    ),
                    "best_step": np.asarray(step if improved else progress["best_step"], np.int64),
                    "stale": np.asarray(0 if improved else progress["stale"] + 1, np.int64),
                    "train_seconds": progress["train_seconds"] + trained,
                    "seconds": progress["seconds"] + (time.monotonic() - start),
                }
                if improved:
                    best.save(step, {"params": state.params, "model_state": state.model_state})
                last.save(step, {"state": state, "progress": progress})
        chosen = best.restore({"params": state.params, "model_state": state.model_state})
    return Fit(
        best=TrainState(state.step, chosen["params"], chosen["model_state"], state.opt_state),
        best_step=int(progress["best_step"]),
        steps=step,
        steps_per_epoch=plan.steps_per_epoch,
        seconds=float(progress["seconds"]),
        images_per_second=step * plan.batch_size / max(float(progress["train_seconds"]), 1e-9),
    )


def begun(folder: RunFolder, part: str) -> bool:
    """Whether `fit` would go on from a checkpoint."""
    with Checkpoints(folder.checkpoints / part / "last") as last:
        return last.latest_step is not None


def best_variables(
    folder: RunFolder,
    part: str,
    build: Callable[..., nnx.Module],
    stack: int | None = None,
    trained: filterlib.Filter = nnx.Param,
) -> tuple[Any, Any]:
    """The best parameters and other variables that `fit` found, on every device.

    Args:
        folder: of the run.
        part: as `fit` was told.
        build: makes the model from its random streams, `rngs`.
        stack: see `engine_jax.state.create_state`.
        trained: see `engine_jax.state.create_state`.

    Raises:
        UserError: when there are none, or they are of another architecture.
    """
    everywhere = sharding.replicated(sharding.device_mesh())
    params, model_state = abstract_variables(build, everywhere, stack, trained)
    with Checkpoints(folder.checkpoints / part / "best") as best:
        held = best.restore({"params": params, "model_state": model_state})
    return held["params"], held["model_state"]


def take_steps(
    step: Callable[[S, X], tuple[S, jax.Array]], state: S, inputs: X
) -> tuple[S, jax.Array]:
    """`jax.lax.scan`: one step for each entry of the inputs' first axis; the state and the losses.

    A single step is taken without a loop, because XLA's CPU backend runs convolutions inside of a
    loop ten to twenty times slower than outside.
    """
    if jax.tree.leaves(inputs)[0].shape[0] > 1:
        return jax.lax.scan(step, state, inputs)
    state, loss = step(state, jax.tree.map(lambda array: array[0], inputs))
    return state, loss[None]


def _first_progress() -> dict[str, Any]:
    """What the loop itself has to remember over a restart; arrays, since it is saved with the state."""
    return {
        "best_loss": np.asarray(np.inf),
        "best_step": np.asarray(0, np.int64),
        "stale": np.asarray(0, np.int64),
        "train_seconds": np.asarray(0.0),
        "seconds": np.asarray(0.0),
    }


def _validation(metrics: Mapping[str, float]) -> str:
    """The validation part's metrics in one line; nothing should be chosen by the others."""
    part = MONITORED.partition("/")[0]
    shown = [f"{name} {value:.4g}" for name, value in metrics.items() if name.startswith(part)]
    return ", ".join(shown).replace("/", " ", 1).replace(f"{part}/", "")


def _finished(step: int, progress: Mapping[str, Any], plan: Plan) -> bool:
    stopped = plan.patience and progress["stale"] >= plan.patience
    return stopped or step >= plan.steps


def _take_call(
    state: TrainState,
    step: int,
    train_call: TrainCall,
    plan: Plan,
    writer: MetricsWriter,
    bar: Progress,
) -> tuple[TrainState, int]:
    state, losses = train_call(state, step)
    losses = np.asarray(losses, np.float64)  # [steps_per_call]
    if not np.isfinite(losses).all():
        raise UserError(
            f"the loss is {losses[~np.isfinite(losses)][0]} at step {step}: "
            "try a lower config.optimizer.learning_rate"
        )
    for loss in losses:
        step += 1
        epoch = in_epochs(step, plan.steps_per_epoch)
        writer.write(step, epoch, {"train/loss": float(loss)})
    bar.update(len(losses), float(losses.mean()))
    return state, step
