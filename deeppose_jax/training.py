"""Trains one stage of a run on the errors of the stage before it, and applies it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Float

from convnets_jax.transfer import check_blocks
from deeppose_jax.config import PoseConfig, StageConfig
from deeppose_jax.data.parts import Parts
from deeppose_jax.displacements import Displacements, ObservedDisplacements
from deeppose_jax.epoch_metrics import criterion, epoch_metrics, evaluated_parts
from deeppose_jax.initial_weights import (
    check_started,
    previous_weights,
    published_weights,
    started_weights,
)
from deeppose_jax.mesh import batch_axes, state_sharding, variables_sharding
from deeppose_jax.predictor import Predictions, Predictor
from deeppose_jax.previous_stage import MeasuredPoses, cached_poses, needs_training_poses
from deeppose_jax.regressor import Regressor
from deeppose_jax.scale_factors import calibrated, scale_factors, write_factors
from deeppose_jax.skeleton import Skeleton
from deeppose_jax.stages import stage_network
from deeppose_jax.train_step import joint_refiners_step, shared_refiner_step, train_step
from engine_jax import sharding
from engine_jax.errors import UserError, listed
from engine_jax.experiment import Run
from engine_jax.feed import Step, make_train_call
from engine_jax.loop import Fit, TrainCall, adopt, fit
from engine_jax.optimizer import make_optimizer, update_plateau
from engine_jax.phases import Phase
from engine_jax.plan import make_plan
from engine_jax.randomness import entropy_for, key_for
from engine_jax.stacked import stacked
from engine_jax.state import (
    TrainState,
    Variables,
    abstract_model,
    abstract_variables,
    check_memory,
    create_state,
    graph_defs,
    variables_by_name,
)


@dataclass(frozen=True)
class TrainedStage:
    """A stage after its training.

    Attributes:
        config: of the stage.
        fitted: result of training.
        predictions: of its best variables, by the names of `evaluated_parts`, which the next stage goes on from.
        factors: what their scales are to be multiplied by, see `scale_factors`; None without scales.
        measured: its poses whose errors the next stage is trained on; None for the last stage.
    """

    config: StageConfig
    fitted: Fit
    predictions: Mapping[str, Predictions]
    factors: Float[np.ndarray, " k"] | None
    measured: MeasuredPoses | None

    def calibrated(self, name: str) -> Predictions:
        """The predictions for a set, with scales that are the errors to be expected."""
        found = self.predictions[name]
        return replace(found, stage=calibrated(found.stage, self.factors))


def train_stage(
    run: Run[PoseConfig, Parts], number: int, before: Sequence[TrainedStage]
) -> TrainedStage:
    """Trains a stage, resuming if that was interrupted, and applies it.

    Args:
        run: what it is trained with.
        number: of the stage, counted from 1.
        before: the stages before it.

    Raises:
        UserError: when its checkpoint, or the weights that it should start with, are of another architecture, or the
            loss is no longer finite.
    """
    settings, parts, seed = run.settings, run.parts, run.settings.seed
    stage, skeleton = settings.stage(number), parts.skeleton
    build = partial(stage_network, stage, skeleton.num_joints)
    placed = state_sharding(stage, run.mesh)

    def begin(phase: Phase) -> tuple[TrainState, TrainCall]:
        optimizer = make_optimizer(stage.optimizer, phase.plan.steps, dict(stage.transfer.rates))
        by_joint = stacked(optimizer) if stage.form == "per_joint" else optimizer
        key = key_for(seed, phase.name, "parameters")
        state = create_state(build, by_joint, key, placed, trained=phase.trained)
        train_call = make_train_call(
            _step(run, stage, phase, optimizer),
            parts.train.poses,
            settings.data.placement,
            phase.plan,
            entropy_for(seed, phase.name, "order"),
            placed,
            sharding.split(run.mesh, axis=1, over=batch_axes(stage, run.mesh)),
            fixed={"key": key_for(seed, phase.name, "steps"), **_displacements(run, before)},
        )
        return state, train_call

    def initialise(state: TrainState) -> TrainState:
        started = started_weights(settings, skeleton)
        if number <= len(started):
            return state.with_variables(started[number - 1])
        if stage.from_previous:
            names = state.variables.by_name()
            taken = previous_weights(names, before[-1].fitted.best.by_name(), number)
            return state.with_variables(taken)
        if stage.model.weights:
            return state.with_variables(published_weights(stage.model))
        return state

    predictor = Predictor(graph_defs(build).evaluate, stage, settings, skeleton, run.mesh)
    evaluated = evaluated_parts(parts, settings)
    batches = {
        key: predictor.batches(part.poses, before[-1].predictions[key].stage if before else None)
        for key, part in evaluated.items()
    }

    def predictions(variables: Variables) -> dict[str, Predictions]:
        return {
            key: predictor(variables, part.poses, batches=batches[key])
            for key, part in evaluated.items()
        }

    def evaluate(variables: Variables) -> dict[str, float]:
        return epoch_metrics(predictions(variables), evaluated, skeleton)

    def kept() -> Variables:
        key = key_for(seed, stage.name, "parameters")
        trained = stage.transfer.trained_at_end
        state = create_state(build, optax.identity(), key, placed, trained=trained)
        return initialise(state).variables

    if number <= settings.start.keep:
        held = variables_sharding(stage, run.mesh)
        like = abstract_variables(build, held, trained=stage.transfer.trained_at_end)
        fitted = adopt(run.folder, stage.name, like, kept)
    else:
        size = len(parts.train.poses)
        plan = make_plan(stage.train, settings.evaluation.every, size, run.mesh, stage.field)
        fitted = fit(
            stage.transfer.phases(stage.name, plan),
            begin,
            evaluate,
            run.folder,
            field=stage.field,
            initialise=initialise,
            after_evaluation=partial(update_plateau, stage.optimizer),
            criterion=partial(criterion, settings.evaluation.chosen_by),
        )
    found, held_out = predictions(fitted.best), parts.validation.poses
    factors = scale_factors(found["validation"].stage, held_out, skeleton)
    if factors is not None and jax.process_index() == 0:
        write_factors(run.folder.checkpoints / stage.name, factors)
    measured = None
    if needs_training_poses(settings.refiner, number, settings.stages):
        train = parts.train.poses
        earlier = before[-1].measured.predicted if before and before[-1].measured else None
        on_train = cached_poses(
            run.folder.checkpoints / stage.name / "train_poses.npz",
            len(train),
            lambda: predictor(fitted.best, train, earlier).stage,
        )
        measured = MeasuredPoses("training", on_train, train)
    elif number < settings.stages:
        measured = MeasuredPoses("validation", found["validation"].stage, held_out)
    return TrainedStage(stage, fitted, found, factors, measured)


def _step(
    run: Run[PoseConfig, Parts],
    stage: StageConfig,
    phase: Phase,
    optimizer: optax.GradientTransformation,
) -> Step:
    """The stage's train step as a function of its state, a batch, the random key, and refiners' displacements."""
    settings, skeleton = run.settings, run.parts.skeleton
    common = {"optimizer": optimizer, "settings": settings, "skeleton": skeleton}
    build = partial(stage_network, stage, skeleton.num_joints)
    if stage.form == "regressor":
        graphdef = graph_defs(build, phase.trained).train
        return partial(train_step, graphdef=graphdef, trained=phase.trained, **common)
    if stage.form == "shared":
        return partial(shared_refiner_step, graphdef=graph_defs(build).train, **common)
    one = partial(Regressor, stage.model, 1)
    return partial(joint_refiners_step, graphdef=graph_defs(one).train, mesh=run.mesh, **common)


def _displacements(
    run: Run[PoseConfig, Parts], before: Sequence[TrainedStage]
) -> dict[str, Displacements | ObservedDisplacements]:
    """Under that name what refiners are trained on: the errors of the stage before, if there is one."""
    if not before:
        return {}
    measured, skeleton = before[-1].measured, run.parts.skeleton
    assert measured is not None
    observed = run.settings.refiner.displacements == "observed"
    drawn_from = measured.observed(skeleton) if observed else measured.normals(skeleton)
    return {"displacements": drawn_from}


def check_flips(settings: PoseConfig, skeleton: Skeleton) -> None:
    """Raises a UserError if images are to be mirrored and the skeleton says of no joint that it is left or right."""
    flips = {"augment.flip": settings.augment.flip}
    flips["evaluation.flip_test"] = settings.evaluation.flip_test
    for name, chosen in flips.items():
        if chosen and not skeleton.mirrored:
            raise UserError(
                f"config.{name}: True, but no joints are left and right of each other by their names "
                f"({listed(skeleton.joints)}); accepted: False, or pairs (config.data.coco.pairs)"
            )


def check_networks(settings: PoseConfig, skeleton: Skeleton) -> None:
    """Checks every stage's network, before any image is read or rendered.

    Raises:
        UserError: when a network can't be built for crops of its size, or a stage can't start from the one before it,
            from its file of weights or from `config.start.source`.
    """
    previous, started = None, started_weights(settings, skeleton)
    for number in range(1, settings.stages + 1):
        stage = settings.stage(number)
        try:
            model = abstract_model(partial(stage_network, stage, skeleton.num_joints))
        except UserError as error:
            raise UserError(f"{stage.field}.model: {error}") from error
        check_memory(model, f"{stage.field}.model")
        check_blocks(model, stage.transfer)
        names = variables_by_name(model)
        if number <= len(started):
            check_started(names, started[number - 1], number)
        elif stage.from_previous and previous is not None:
            previous_weights(names, previous, number)
        elif stage.model.weights and number <= 2:
            taken = published_weights(stage.model)
            frozen = [
                name for name in names if name not in taken and not stage.transfer.trains(name)
            ]
            if frozen:
                raise UserError(
                    f"config.transfer.train: {stage.transfer.train} would freeze {frozen[0]} with random weights, "
                    f"which {stage.model.weights} doesn't have; accepted: blocks that hold {listed(frozen)} too"
                )
        previous = names


def check_plans(settings: PoseConfig, size: int, mesh: Mesh) -> None:
    """Checks for how long every stage is trained, on a training part of `size` images.

    Raises:
        UserError: when these are less than a batch, or blocks would thaw after the end of training.
    """
    for number in range(1, settings.stages + 1):
        stage = settings.stage(number)
        plan = make_plan(stage.train, settings.evaluation.every, size, mesh, stage.field)
        stage.transfer.phases(stage.name, plan)
