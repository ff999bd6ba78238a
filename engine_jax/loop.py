"""The loop that calls a train step: epochs, evaluation, early stopping, checkpoints and resumption."""

import time
from collections.abc import Callable, Mapping, Sequence
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
from engine_jax.phases import Phase
from engine_jax.plan import Plan, in_epochs
from engine_jax.progress import Progress
from engine_jax.run_folder import RunFolder
from engine_jax.state import TrainState, Variables, abstract_variables
from engine_jax.writer import MetricsWriter

# Takes the state and the host's step count; returns the state some steps later and the losses of those steps.
TrainCall = Callable[[TrainState, int], tuple[TrainState, jax.Array]]
# Takes a phase; returns its first state, with random weights, and its train call.
Begin = Callable[[Phase], tuple[TrainState, TrainCall]]
# Takes the model's variables; returns named metrics, among them "validation/loss", alone where that is not finite.
Evaluate = Callable[[Variables], Mapping[str, float]]
# Takes the optimiser state and the validation loss; returns the updated optimiser state.
AfterEvaluation = Callable[[Any, float], Any]

MONITORED = "validation/loss"

S = TypeVar("S")
X = TypeVar("X")


@dataclass(frozen=True)
class Fit:
    """Result of `fit`.

    Attributes:
        best: the variables with the lowest validation loss.
        best_step: the steps taken up to then.
        steps: the steps taken in all.
        steps_per_epoch: how many make an epoch.
        seconds: training and evaluation, over all starts of the run.
        images_per_second: training only, over all starts of the run; of the last phase.
    """

    best: Variables
    best_step: int
    steps: int
    steps_per_epoch: int
    seconds: float
    images_per_second: float

    @property
    def best_epoch(self) -> float:
        """The epochs trained up to the best variables."""
        return in_epochs(self.best_step, self.steps_per_epoch)

    @property
    def epochs(self) -> float:
        """The epochs trained."""
        return in_epochs(self.steps, self.steps_per_epoch)

    def followed_by(self, later: "Fit") -> "Fit":
        """The result of this phase of training and a later one together."""
        return replace(
            later,
            best_step=self.steps + later.best_step,
            steps=self.steps + later.steps,
            seconds=self.seconds + later.seconds,
        )


def fit(
    phases: Sequence[Phase],
    begin: Begin,
    evaluate: Evaluate,
    folder: RunFolder,
    *,
    field: str = "config",
    initialise: Callable[[TrainState], TrainState] | None = None,
    after_evaluation: AfterEvaluation = lambda opt_state, loss: opt_state,
) -> Fit:
    """Trains a network phase by phase, resuming from the last checkpoint in the folder if there is one.

    Each phase starts from the best variables of the one before it. A checkpoint is written after every evaluation; a
    run that was killed repeats the epochs since then, step for step. A phase that was finished before is only read.

    Args:
        phases: what is trained and how long.
        begin: see Begin.
        evaluate: see Evaluate.
        folder: where checkpoints and metrics go.
        field: where the configuration holds the network's optimizer.
        initialise: gives the first state of the first phase other weights than random ones; not called on resumption.
        after_evaluation: updates the optimiser state after an evaluation, see AfterEvaluation.

    Raises:
        UserError: when the folder's checkpoint is of another architecture, or the loss of a training step or
            the first validation loss is not finite.
    """
    fitted = None
    for phase in phases:
        state, train_call = begin(phase)
        if fitted is not None:
            state = state.with_variables(fitted.best.by_name())
        elif initialise is not None and not has_checkpoint(folder, phase.name):
            state = initialise(state)
        result = _fit_phase(phase, state, train_call, evaluate, folder, field, after_evaluation)
        fitted = result if fitted is None else fitted.followed_by(result)
    assert fitted is not None
    return fitted


def _fit_phase(
    phase: Phase,
    state: TrainState,
    train_call: TrainCall,
    evaluate: Evaluate,
    folder: RunFolder,
    field: str,
    after_evaluation: AfterEvaluation,
) -> Fit:
    """`fit` for one phase; `state` is donated."""
    name, plan = phase.name, phase.plan
    progress = _first_progress()
    epochs = partial(in_epochs, steps_per_epoch=plan.steps_per_epoch)
    with (
        Checkpoints(folder.checkpoints / name / "last") as last,
        Checkpoints(folder.checkpoints / name / "best") as best,
    ):
        if last.latest_step is not None:
            resumed = last.restore({"state": state, "progress": progress})
            state, progress = resumed["state"], resumed["progress"]
        step = int(state.step)
        with (
            MetricsWriter(folder.metrics, name, step) as writer,
            Progress(plan.steps, step, plan.batch_size) as bar,
        ):
            if step:
                verb = "finished" if _finished(step, progress, plan) else "resuming"
                bar.line(f"{name}: {verb} at epoch {epochs(step):g}")
            while not _finished(step, progress, plan):
                start = time.monotonic()
                until = min(step + plan.evaluate_every * plan.steps_per_epoch, plan.steps)
                while step < until:
                    state, step = _take_call(state, step, train_call, phase, field, writer, bar)
                trained = time.monotonic() - start
                metrics = evaluate(state.variables)
                loss = metrics[MONITORED]
                # After a finite one there are best variables, which another leaves as they are.
                if not np.isfinite([loss, progress["best_loss"]]).any():
                    raise _diverged(phase, "validation loss", loss, step, field)
                opt_state = after_evaluation(state.opt_state, loss)
                state = replace(state, opt_state=opt_state)
                writer.write(step, epochs(step), metrics)
                bar.line(
                    f"{name}, epoch {epochs(step):g}/{epochs(plan.steps):g}: {_validation(metrics)}"
                )
                improved = np.isfinite(loss) and loss < progress["best_loss"]
                progress = {
                    "best_loss": np.asarray(
                        loss if improved else progress["best_loss"], np.float64
                    ),
                    "best_step": np.asarray(step if improved else progress["best_step"], np.int64),
                    "stale": np.asarray(0 if improved else progress["stale"] + 1, np.int64),
                    "train_seconds": progress["train_seconds"] + trained,
                    "seconds": progress["seconds"] + (time.monotonic() - start),
                }
                if improved:
                    best.save(step, state.variables)
                last.save(step, {"state": state, "progress": progress})
        chosen = best.restore(state.variables)
    return Fit(
        best=chosen,
        best_step=int(progress["best_step"]),
        steps=step,
        steps_per_epoch=plan.steps_per_epoch,
        seconds=float(progress["seconds"]),
        images_per_second=step * plan.batch_size / max(float(progress["train_seconds"]), 1e-9),
    )


def has_checkpoint(folder: RunFolder, name: str) -> bool:
    """Whether `fit` would resume the phase of this name from a checkpoint."""
    with Checkpoints(folder.checkpoints / name / "last") as last:
        return last.latest_step is not None


def best_variables(
    folder: RunFolder,
    name: str,
    build: Callable[..., nnx.Module],
    stack: int | None = None,
    trained: filterlib.Filter = nnx.Param,
) -> Variables:
    """The best variables that `fit` found, on every device.

    Args:
        folder: of the run.
        name: of the last phase.
        build: makes the model from its random streams, `rngs`.
        stack: see `engine_jax.state.create_state`.
        trained: see `engine_jax.state.create_state`.

    Raises:
        UserError: when there are none, or they are of another architecture.
    """
    everywhere = sharding.replicated(sharding.device_mesh())
    with Checkpoints(folder.checkpoints / name / "best") as best:
        return best.restore(abstract_variables(build, everywhere, stack, trained))


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
    """What the loop keeps over a restart beside the state; arrays, since both are saved together."""
    return {
        "best_loss": np.asarray(np.inf),
        "best_step": np.asarray(0, np.int64),
        "stale": np.asarray(0, np.int64),
        "train_seconds": np.asarray(0.0),
        "seconds": np.asarray(0.0),
    }


def _validation(metrics: Mapping[str, float]) -> str:
    """The validation metrics in one line; the other parts' are not shown, so that nobody chooses by them."""
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
    phase: Phase,
    field: str,
    writer: MetricsWriter,
    bar: Progress,
) -> tuple[TrainState, int]:
    state, losses = train_call(state, step)
    losses = np.asarray(losses, np.float64)  # [steps_per_call]
    for loss in losses:
        step += 1
        if not np.isfinite(loss):
            raise _diverged(phase, "loss", loss, step, field)
        epoch = in_epochs(step, phase.plan.steps_per_epoch)
        writer.write(step, epoch, {"train/loss": float(loss)})
    bar.update(len(losses), float(losses.mean()))
    return state, step


def _diverged(phase: Phase, what: str, loss: float, step: int, field: str) -> UserError:
    return UserError(
        f"{phase.name}: the {what} is {loss} at step {step}; "
        f"try a lower {field}.optimizer.learning_rate, in another --workdir"
    )
