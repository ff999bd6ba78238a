"""One stage of a run: its network, its training on what the stage before it leaves, its predictions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx
from flax.nnx import filterlib
from jax.sharding import Mesh

from convnets_jax.phases import Phase, in_phases, phases, plans, started
from convnets_jax.transfer import check_blocks
from deeppose_jax import metrics
from deeppose_jax.cascade import StagePoses, stage_network
from deeppose_jax.config import PoseConfig
from deeppose_jax.data.load import Parts
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.displacements import (
    Displacements,
    ObservedDisplacements,
    fit_normals,
    observed_displacements,
)
from deeppose_jax.predictor import Predictions, Predictor, to_image_pixels
from deeppose_jax.refiner_boxes import smallest_diam
from deeppose_jax.regressor import Regressor
from deeppose_jax.skeleton import Skeleton
from deeppose_jax.starts import copied, read_features, started_from, started_from_weights
from deeppose_jax.train_step import joint_refiners_step, shared_refiner_step, train_step
from engine_jax import sharding
from engine_jax.errors import UserError
from engine_jax.feed import Step, make_train_call
from engine_jax.loop import Evaluate, Fit, begun, fit
from engine_jax.optimizer import make_optimizer, observe_validation
from engine_jax.plan import Plan, make_plan
from engine_jax.run_folder import RunFolder
from engine_jax.stacked import stacked
from engine_jax.state import (
    TrainState,
    abstract_model,
    abstract_variables,
    create_state,
    graph_defs,
)


@dataclass(frozen=True)
class TrainedStage:
    """A stage after its training.

    Attributes:
        number: counted from 1.
        fitted: what came of training.
        predictions: of its best parameters, by the names of `evaluated_sets`.
        on_train: its poses on the whole training part, or None where no later stage asks for them.
    """

    number: int
    fitted: Fit
    predictions: Mapping[str, Predictions]
    on_train: StagePoses | None


@dataclass(frozen=True)
class Run:
    """What all stages of a run are trained with.

    Attributes:
        settings: of the run.
        skeleton: what the joints are.
        parts: the data.
        mesh: see `make_mesh`.
        folder: of the run.
    """

    settings: PoseConfig
    skeleton: Skeleton
    parts: Parts
    mesh: Mesh
    folder: RunFolder


def train_stage(run: Run, number: int, before: Sequence[TrainedStage]) -> TrainedStage:
    """Trains a stage, or goes on where it was stopped, and applies it.

    Args:
        run: what it is trained with.
        number: of the stage, counted from 1.
        before: the stages before it.

    Raises:
        UserError: when its checkpoint, or the weights that it should start with, are of another architecture.
    """
    settings, train = run.settings, run.parts.train.poses
    graph = graph_defs(partial(stage_network, settings, run.skeleton, number)).evaluate
    sets = evaluated_sets(run.parts, settings)
    previous = {key: before[-1].predictions[key].stage if before else None for key in sets}
    predictor = Predictor(graph, number, settings, run.skeleton, run.mesh)

    def evaluate(state: TrainState) -> dict[str, float]:
        found = {key: predictor(state, poses, previous[key]) for key, poses in sets.items()}
        return epoch_metrics(found, sets, run.skeleton)

    fitted = in_phases(
        stage_phases(settings, number),
        stage_plans(settings, number, len(train)),
        partial(train_phase, run, number, before, evaluate),
    )
    # Whatever was frozen: the next stage may start from it.
    fitted = replace(fitted, best=started(fitted.best, fitted.best, graph, nnx.Param))
    on_train = None
    if number < settings.stages and settings.refiner.measured_on == "train":
        on_train = kept(
            run.folder.checkpoints / f"stage_{number}" / "train_poses.npz",
            lambda: predictor(fitted.best, train, before[-1].on_train if before else None).stage,
        )
    predictions = {key: predictor(fitted.best, poses, previous[key]) for key, poses in sets.items()}
    return TrainedStage(number, fitted, predictions, on_train)


def stage_phases(settings: PoseConfig, number: int) -> list[Phase]:
    """The phases of a stage's training; of stages 2 and on, everything is trained in one."""
    name = f"stage_{number}"
    if number > 1:
        return [Phase(name, nnx.Param)]
    return phases(settings.transfer, name)


def stage_plans(settings: PoseConfig, number: int, size: int) -> list[Plan]:
    """How long a stage's phases take, on a training part of `size` images.

    Raises:
        UserError: when that is less than a batch, or a freeze doesn't end before training does.
    """
    every = settings.evaluation.every
    if number > 1:
        return [make_plan(settings.refiner.train, every, size, "config.refiner.train")]
    return plans(settings.transfer, make_plan(settings.train, every, size))


def train_phase(
    run: Run,
    number: int,
    before: Sequence[TrainedStage],
    evaluate: Evaluate,
    index: int,
    phase: Phase,
    plan: Plan,
    earlier: Fit | None,
) -> Fit:
    """Trains a stage for one phase.

    Args:
        run, number, before: see `train_stage`.
        evaluate: see `engine_jax.loop.Evaluate`.
        index: of the phase, from 0; the order of its samples and its random numbers follow from it.
        phase: what is trained.
        plan: how long.
        earlier: what came of the phase before it.
    """
    settings, mesh = run.settings, run.mesh
    optimizer_config, model, rates = settings.optimizer, settings.model, settings.transfer.rates
    if number > 1:
        refiner = settings.refiner
        optimizer_config, model, rates = refiner.optimizer, refiner.model, ()
    optimizer = make_optimizer(optimizer_config, plan.steps, dict(rates))
    build = partial(stage_network, settings, run.skeleton, number)
    placed = state_sharding(settings, number, mesh)
    seed = stage_seed(settings, number) + 2 * index
    per_joint = number > 1 and settings.refiner.form == "per_joint"
    state = create_state(
        build,
        stacked(optimizer) if per_joint else optimizer,
        jax.random.key(seed),
        placed,
        trained=phase.trained,
    )
    if earlier is not None:
        graph = graph_defs(build).evaluate
        state = started(state, earlier.best, graph, phase.trained)
    elif number > 1 and settings.refiner.start == "previous":
        state = started_from(state, before[-1].fitted.best, placed, number)
    elif model.weights and not begun(run.folder, phase.name):
        state = started_from_weights(state, model, placed)
    train_call = make_train_call(
        make_step(run, number, before, optimizer, jax.random.key(seed + 1), phase.trained),
        run.parts.train.poses,
        settings.data.placement,
        plan,
        seed,
        placed,
        sharding.split(mesh, axis=1, over=None if number == 1 else ("data",)),
    )
    observe = partial(observe_validation, optimizer_config)
    return fit(state, train_call, evaluate, plan, run.folder, phase.name, observe)


def make_step(
    run: Run,
    number: int,
    before: Sequence[TrainedStage],
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    trained: filterlib.Filter,
) -> Step:
    """The stage's train step, a function of its state and a batch; `key` gives its random numbers."""
    settings, skeleton = run.settings, run.skeleton
    common = {"optimizer": optimizer, "settings": settings, "skeleton": skeleton, "key": key}
    build = partial(stage_network, settings, skeleton, number)
    if number == 1:
        graphdef = graph_defs(build, trained).train
        return partial(train_step, graphdef=graphdef, trained=trained, **common)
    common["displacements"] = training_displacements(before[-1], run.parts, settings, skeleton)
    if settings.refiner.form == "shared":
        return partial(shared_refiner_step, graphdef=graph_defs(build).train, **common)
    one = partial(Regressor, settings.refiner.model, 1)
    return partial(joint_refiners_step, graphdef=graph_defs(one).train, mesh=run.mesh, **common)


def measured(
    before: TrainedStage, parts: Parts, settings: PoseConfig
) -> tuple[StagePoses, PoseSet, str]:
    """The stage's poses on the part that the next stage's displacements come from, that part, and its name."""
    if settings.refiner.measured_on == "validation":
        return before.predictions["validation"].stage, parts.validation.poses, "validation"
    assert before.on_train is not None
    return before.on_train, parts.train.poses, "training"


def training_displacements(
    before: TrainedStage, parts: Parts, settings: PoseConfig, skeleton: Skeleton
) -> Displacements | ObservedDisplacements:
    """What `settings.refiner.displacements` asks for, of a stage's errors."""
    predicted, poses, _ = measured(before, parts, settings)
    observed = settings.refiner.displacements == "observed"
    make = observed_displacements if observed else fit_normals
    floor = np.asarray(smallest_diam(poses.boxes))
    return make(predicted.joints, poses.joints, poses.labelled, skeleton, floor)


def make_mesh(settings: PoseConfig, skeleton: Skeleton) -> Mesh:
    """All devices, along "data" and "joint".

    Raises:
        UserError: when joints or batches can't be divided among them.
    """
    joints = settings.refiner.joint_devices if settings.stages > 1 else 1
    if skeleton.num_joints % joints:
        raise UserError(
            f"config.refiner.joint_devices: {joints}; accepted: a divisor of {skeleton.num_joints} joints"
        )
    mesh = sharding.device_mesh(joint=joints)
    sharding.check_batch_size(settings.train.batch_size, mesh.size, "config.train.batch_size")
    data = mesh.shape["data"]
    sharding.check_batch_size(settings.evaluation.batch_size, data, "config.evaluation.batch_size")
    if settings.stages > 1:
        sharding.check_batch_size(
            settings.refiner.train.batch_size, data, "config.refiner.train.batch_size"
        )
    return mesh


def state_sharding(settings: PoseConfig, number: int, mesh: Mesh) -> Any:
    """A copy of everything on every device, but for "per_joint" refiners, which are divided along "joint"."""
    everywhere = sharding.replicated(mesh)
    if number == 1 or settings.refiner.form == "shared":
        return everywhere
    divided = sharding.split(mesh, over=("joint",))
    return TrainState(everywhere, divided, divided, divided)  # pyright: ignore[reportArgumentType]


def check(settings: PoseConfig, skeleton: Skeleton, parts: Parts, mesh: Mesh) -> None:
    """Finds what would stop a later stage, before the first one is trained.

    Raises:
        UserError: when the training part has fewer images than a batch, when a network can't be built, or when it
            can't start from the one before it or from its file of weights.
    """
    size = len(parts.train.poses)
    before = None
    for number in range(1, min(settings.stages, 3) + 1):  # All later ones are like the third.
        stage_plans(settings, number, size)
        build = partial(stage_network, settings, skeleton, number)
        variables = abstract_variables(build, sharding.replicated(mesh))
        if before is not None and settings.refiner.start == "previous":
            jax.eval_shape(partial(copied, number=number), variables, before)
        before = variables
    check_blocks(abstract_model(partial(stage_network, settings, skeleton, 1)), settings.transfer)
    if settings.stages > 1 and settings.refiner.model.weights:
        read_features(settings.refiner.model)


def stage_seed(settings: PoseConfig, number: int) -> int:
    """A stage's parameters and order of samples come from this seed, its steps' randomness from the next one."""
    return settings.seed + 2 * (number - 1)


def evaluated_sets(parts: Parts, settings: PoseConfig) -> dict[str, PoseSet]:
    """What each epoch is scored on: the validation and test parts, and the first images of the training part."""
    head = jax.tree.map(lambda array: array[: settings.evaluation.train_images], parts.train.poses)
    return {"train": head, "validation": parts.validation.poses, "test": parts.test.poses}


def epoch_metrics(
    found: Mapping[str, Predictions], sets: Mapping[str, PoseSet], skeleton: Skeleton
) -> dict[str, float]:
    """The losses and main scores of all three parts."""
    values: dict[str, float] = {}
    for name, poses in sets.items():
        scores = metrics.score(
            found[name].joints,
            to_image_pixels(poses.joints, poses),
            poses.labelled,
            skeleton,
            resamples=0,
        )
        if name != "train":
            values[f"{name}/loss"] = float(found[name].losses.mean())
        shown = {row: scores[row]["four_limbs"] for row in ("pcp_strict", "pcp_loose")}
        shown |= {f"pdj_{threshold}": row["total"] for threshold, row in scores["pdj"].items()}
        # A score is None where a part labels nothing that it could be measured on.
        values |= {f"{name}/{key}": value for key, value in shown.items() if value is not None}
    return values


def kept(path: Path, make: Callable[[], StagePoses]) -> StagePoses:
    """The poses in a file, or those that `make` gives, which are then written to it."""
    if path.exists():
        with np.load(path) as held:
            arrays = {field.name: held.get(field.name) for field in fields(StagePoses)}
        return StagePoses(**arrays)
    poses = make()
    if jax.process_index() == 0:
        arrays = {field.name: getattr(poses, field.name) for field in fields(StagePoses)}
        partial_path = path.with_suffix(".partial.npz")
        np.savez(partial_path, **{name: x for name, x in arrays.items() if x is not None})
        partial_path.replace(path)
    return poses
