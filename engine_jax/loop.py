"""The loop that calls a train step: epochs, evaluation, early stopping, checkpoints and resumption."""

import logging
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from flax.nnx import filterlib

from engine_jax import checkpoint, sharding
from engine_jax.checkpoint import Checkpoints
from engine_jax.errors import UserError
from engine_jax.interruption import Interrupted, postponed
from engine_jax.late_losses import LateLosses
from engine_jax.phases import Phase
from engine_jax.plan import in_epochs
from engine_jax.preemption import all_stop
from engine_jax.progress import Progress
from engine_jax.run_folder import RunFolder
from engine_jax.state import TrainState, Variables, abstract_variables
from engine_jax.training_progress import after, first_progress, is_finished, judged
from engine_jax.writer import MetricsWriter, read_metrics

# Takes the state, which is donated, and the host's step count; returns the state some steps later and the losses of
# those steps.
TrainCall = Callable[[TrainState, int], tuple[TrainState, jax.Array]]
# Takes a phase; returns its first state, with random weights, and its train call.
Begin = Callable[[Phase], tuple[TrainState, TrainCall]]
# Takes the model's variables; returns named metrics, among them "validation/loss", alone where that is not finite.
Evaluate = Callable[[Variables], Mapping[str, float]]
# Takes the optimiser state and the validation loss; returns the updated optimiser state.
AfterEvaluation = Callable[[Any, float], Any]
# Takes the metrics of an evaluation; returns what the best variables have least of, NaN where it isn't known.
Criterion = Callable[[Mapping[str, float]], float]

MONITORED = "validation/loss"


def validation_loss(metrics: Mapping[str, float]) -> float:
    """The criterion that chooses the variables with the lowest validation loss."""
    return metrics[MONITORED]


@dataclass(frozen=True)
class Fit:
    """Result of `fit`.

    Attributes:
        best: the variables with the lowest criterion, by default the validation loss.
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
    criterion: Criterion = validation_loss,
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
        criterion: chooses the best variables, and ends training that no longer improves by it, see Criterion.

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
        result = _fit_phase(
            phase, state, train_call, evaluate, folder, field, after_evaluation, criterion
        )
        fitted = result if fitted is None else fitted.followed_by(result)
    assert fitted is not None
    return fitted


def adopt(folder: RunFolder, name: str, like: Variables, take: Callable[[], Variables]) -> Fit:
    """What `fit` would return of a network that is trained already, and not trained further.

    Its variables are kept in the folder as the checkpoint of step 0, from which an interrupted run goes on.

    Args:
        folder: where the checkpoint goes.
        name: of the phase.
        like: shapes and shardings of the variables.
        take: gives the variables; not called on resumption.
    """
    part = folder.checkpoints / name / "best"
    if not checkpoint.steps(part):
        with Checkpoints(part) as best:
            best.save(0, take())
    kept = checkpoint.restore(part, like, 0)
    return Fit(kept, best_step=0, steps=0, steps_per_epoch=1, seconds=0.0, images_per_second=0.0)


def _fit_phase(
    phase: Phase,
    state: TrainState,
    train_call: TrainCall,
    evaluate: Evaluate,
    folder: RunFolder,
    field: str,
    after_evaluation: AfterEvaluation,
    criterion: Criterion,
) -> Fit:
    """`fit` for one phase; `state` is donated."""
    name, plan = phase.name, phase.plan
    part = folder.checkpoints / name
    epochs = partial(in_epochs, steps_per_epoch=plan.steps_per_epoch)
    state, progress = _resumed(folder, part, state)
    step = int(state.step)
    with (
        Checkpoints(part / "last") as last,
        Checkpoints(part / "best") as best,
        MetricsWriter(folder.metrics, name, step) as writer,
        Progress(plan.steps, step, plan.batch_size) as bar,
    ):
        losses = LateLosses(partial(_log_losses, phase=phase, field=field, writer=writer, bar=bar))
        if step:
            verb = "finished" if is_finished(progress, plan) else "resuming"
            bar.line(f"{name}: {verb} at epoch {epochs(step):g}")
        try:
            while not is_finished(progress, plan):
                start = time.monotonic()
                # A run that was interrupted between two evaluations goes on to the next of them; one that is trained
                # further was evaluated at its former end, too.
                every = plan.evaluate_every * plan.steps_per_epoch
                until = min((int(progress["evaluated_step"]) // every + 1) * every, plan.steps)
                while step < until:
                    with postponed(), jax.transfer_guard("disallow"):
                        state, found = train_call(state, step)
                        losses.add(step, found)
                        step += len(found)
                        if step == until:
                            losses.read()
                        took = time.monotonic() - start
                        start += took
                        progress = after(progress, train_seconds=took, seconds=took)
                    if all_stop():
                        raise Interrupted(signal.SIGTERM, together=True)
                metrics = evaluate(state.variables)
                loss = metrics[MONITORED]
                # After a finite one there are best variables, which another leaves as they are.
                if not np.isfinite([loss, progress["best_loss"]]).any():
                    raise _diverged(phase, "validation loss", loss, step, field)
                with postponed():
                    opt_state = after_evaluation(state.opt_state, loss)
                    state = replace(state, opt_state=opt_state)
                    writer.write(step, epochs(step), metrics)
                    bar.line(
                        f"{name}, epoch {epochs(step):g}/{epochs(plan.steps):g}: {_validation(metrics)}"
                    )
                    progress = after(progress, seconds=time.monotonic() - start)
                    progress, improved = judged(progress, step, criterion(metrics))
                    if improved:
                        best.save(step, state.variables)
                        best.wait()  # What `last` calls the best is there.
                    writer.flush()
                    last.save(step, {"state": state, "progress": progress})
        except Interrupted as interrupted:
            saved = int(progress["evaluated_step"])
            if interrupted.together or jax.process_count() == 1:
                losses.read()
                writer.flush()
                last.save(step, {"state": state, "progress": progress})
                last.wait()
                saved = step
            interrupted.add_note(f"{name} is saved at step {saved} of {plan.steps}")
            raise
    chosen = checkpoint.restore(part / "best", state.variables, int(progress["best_step"]))
    return Fit(
        best=chosen,
        best_step=int(progress["best_step"]),
        steps=step,
        steps_per_epoch=plan.steps_per_epoch,
        seconds=float(progress["seconds"]),
        images_per_second=step * plan.batch_size / max(float(progress["train_seconds"]), 1e-9),
    )


def _resumed(folder: RunFolder, part: Path, first: TrainState) -> tuple[TrainState, dict[str, Any]]:
    """The state and the progress to go on with: those of the last checkpoint, or the first ones."""
    # An older checkpoint lacks the step of the last evaluation, after which it was always written.
    like = {"state": first, "progress": first_progress() | {"evaluated_step": np.asarray(-1)}}
    optional = {"progress.evaluated_step"}
    restored = checkpoint.newest(
        part / "last", lambda step: checkpoint.restore(part / "last", like, step, optional)
    )
    if restored is None:
        if folder.finished:
            raise UserError(f"{part / 'last'}: no complete checkpoint here")
        rows = read_metrics(folder.metrics, part.name) if folder.metrics.exists() else []
        # The third evaluation is written when the first checkpoint is complete.
        if part.exists() and sum(MONITORED in row for row in rows) > 2:
            raise UserError(
                f"{part / 'last'}: no complete checkpoint here, where some were; to train this part of the run anew, "
                f"delete {part}"
            )
        if rows:
            logging.info("%s: was stopped before its first checkpoint; starts again", part.name)
        return first, first_progress()
    state, progress = restored["state"], restored["progress"]
    if progress["evaluated_step"] < 0:
        progress = progress | {"evaluated_step": np.asarray(state.step, np.int64)}
    if jax.process_count() == 1:
        # Of a run that was killed between two writes: steps that will be taken again.
        checkpoint.discard_after(part / "best", int(progress["best_step"]))
    return state, progress


def has_checkpoint(folder: RunFolder, name: str) -> bool:
    """Whether `fit` would resume the phase of this name from a checkpoint."""
    return bool(checkpoint.steps(folder.checkpoints / name / "last"))


def _best_step(last: Path) -> int | None:
    """The step of the best variables by the newest checkpoint to resume from; None where there is none."""
    read = partial(checkpoint.restore_leaf, last, "progress.best_step")
    found = checkpoint.newest(last, read)
    return None if found is None else int(found)


def check_resumable(folder: RunFolder) -> None:
    """Raises a UserError unless the training of a finished run can go on from its checkpoints."""
    for part in sorted(folder.checkpoints.glob("*")):
        if checkpoint.steps(part / "best") == [0]:
            continue  # It was taken as it is, see `adopt`.
        last = part / "last"
        if _best_step(last) is None:
            raise UserError(
                f"{last}: no complete checkpoint here, from which the run could be trained further"
            )


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
    like = abstract_variables(build, everywhere, stack, trained)
    part = folder.checkpoints / name
    last, best = part / "last", part / "best"
    while True:
        known = checkpoint.steps(last), checkpoint.steps(best)
        try:
            step = _best_step(last)
            if step is None:  # The folder was given on without what only training needs.
                step = max(known[1], default=0)
            return checkpoint.restore(best, like, step)
        except UserError:
            # A run that is training replaces its checkpoints.
            if known == (checkpoint.steps(last), checkpoint.steps(best)):
                raise


def _validation(metrics: Mapping[str, float]) -> str:
    """The validation metrics in one line; the other parts' are not shown, so that nobody chooses by them."""
    part = MONITORED.partition("/")[0]
    shown = [f"{name} {value:.4g}" for name, value in metrics.items() if name.startswith(part)]
    return ", ".join(shown).replace("/", " ", 1).replace(f"{part}/", "")


def _log_losses(
    step: int,
    losses: np.ndarray,
    *,
    phase: Phase,
    field: str,
    writer: MetricsWriter,
    bar: Progress,
) -> None:
    """Writes the losses [steps] of a call that began after `step` steps."""
    for number, loss in enumerate(losses.tolist(), step + 1):
        if not np.isfinite(loss):
            raise _diverged(phase, "loss", loss, number, field)
        writer.write(number, in_epochs(number, phase.plan.steps_per_epoch), {"train/loss": loss})
    bar.update(len(losses), float(losses.mean()))


def _diverged(phase: Phase, what: str, loss: float, step: int, field: str) -> UserError:
    return UserError(
        f"{phase.name}: the {what} is {loss} at step {step}; "
        f"try a lower {field}.optimizer.learning_rate, in another --workdir"
    )
