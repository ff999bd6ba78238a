"""Trains and evaluates a pose regressor."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float

from deeppose_jax import codec, metrics, report
from deeppose_jax.augment import augmented_samples
from deeppose_jax.config import PoseConfig
from deeppose_jax.data.load import Parts, load_parts
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.heads import head_loss
from deeppose_jax.predictor import Predictor, to_image_pixels
from deeppose_jax.regressor import Regressor
from deeppose_jax.skeleton import LSP, Skeleton
from engine_jax import sharding
from engine_jax.config import from_mapping
from engine_jax.errors import UserError
from engine_jax.loop import Plan, TrainCall, fit, steps_per_call, take_steps
from engine_jax.optimizer import make_optimizer
from engine_jax.order import step_indices
from engine_jax.run_folder import RunFolder
from engine_jax.state import TrainState, create_state, graph_defs
from engine_jax.stream import stream

SKELETON = LSP


def train_and_evaluate(config: Mapping[str, Any], workdir: str | Path) -> dict[str, Any]:
    """Does what a config says in a run's folder, or goes on where it was stopped.

    Args:
        config: the values of configs/pose.py.
        workdir: the run's folder.

    Returns:
        What results.json holds.

    Raises:
        UserError: for input that can't be used.
    """
    settings = from_mapping(PoseConfig, config)
    folder = RunFolder(workdir)
    folder.check(config)
    if (finished := folder.read_results()) is not None:
        logging.info("%s: this run is finished", folder.path)
        return finished

    mesh = sharding.data_mesh()
    sharding.check_batch_size(settings.train.batch_size, mesh, "config.train.batch_size")
    sharding.check_batch_size(settings.evaluation.batch_size, mesh, "config.evaluation.batch_size")
    parts = load_parts(settings.data, settings.seed)
    sizes = ", ".join(f"{size} {name}" for name, size in parts.sizes().items())
    logging.info("%s: %s images", settings.data.dataset, sizes)

    plan = make_plan(settings, len(parts.train.poses))
    optimizer = make_optimizer(settings.optimizer, plan.epochs * plan.steps_per_epoch)
    build = partial(Regressor, settings.model, SKELETON)
    graphs = graph_defs(build)
    state = create_state(build, optimizer, jax.random.key(settings.seed), sharding.replicated(mesh))
    step = partial(
        train_step,
        graphdef=graphs.train,
        optimizer=optimizer,
        settings=settings,
        skeleton=SKELETON,
        key=jax.random.key(settings.seed + 1),
    )
    train_call = make_train_call(step, settings, plan, parts.train.poses, mesh)
    predictor = Predictor(
        graphs.evaluate, settings.model.input_size, settings.evaluation.batch_size, mesh
    )
    evaluate = partial(epoch_metrics, predictor=predictor, parts=parts, settings=settings)
    folder.start(config)
    fitted = fit(state, train_call, evaluate, plan, folder)
    floor = mean_pose_joints(parts.train.poses, parts.test.poses)
    return report.write_report(folder, settings, parts, SKELETON, fitted, predictor, floor)


def train_step(
    state: TrainState,
    batch: PoseSet,
    *,
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    settings: PoseConfig,
    skeleton: Skeleton,
    key: jax.Array,
) -> tuple[TrainState, Float[Array, ""]]:
    """One optimiser step on one batch; returns the new state and the loss.

    The step's randomness is a function of `key` and the state's step, so that a resumed run repeats it.
    """
    augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
    inputs, targets, labelled = augmented_samples(
        augment_key, batch, settings.model.input_size, settings.augment, skeleton
    )

    def loss_of(params: Any) -> tuple[jax.Array, Any]:
        # copy=True: batch norm writes its statistics, which it may not do to the arrays of an outer trace.
        model = nnx.merge(graphdef, params, state.model_state, copy=True)
        estimate = model(inputs, nnx.Rngs(dropout=dropout_key))
        return head_loss(estimate, targets, labelled).mean(), nnx.state(model, nnx.Not(nnx.Param))

    (loss, model_state), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    return state.apply_gradients(optimizer, grads, model_state), loss


def make_train_call(
    step: Callable[[TrainState, PoseSet], tuple[TrainState, jax.Array]],
    settings: PoseConfig,
    plan: Plan,
    poses: PoseSet,
    mesh: Mesh,
) -> TrainCall:
    """The jitted function that takes several steps in one call, fed from the device or from the host."""
    everywhere, split = sharding.replicated(mesh), sharding.split(mesh, axis=1)

    def indices(call: int) -> np.ndarray:
        first = call * plan.steps_per_call
        return step_indices(settings.seed, first, plan.steps_per_call, len(poses), plan.batch_size)

    if settings.data.placement == "device":
        data = sharding.place(poses, everywhere)

        @partial(jax.jit, donate_argnums=0, out_shardings=everywhere)
        def from_device(
            state: TrainState, data: PoseSet, chosen: jax.Array
        ) -> tuple[TrainState, jax.Array]:
            def gathered_step(state: TrainState, at: jax.Array) -> tuple[TrainState, jax.Array]:
                return step(state, jax.tree.map(lambda array: array[at], data))

            return take_steps(gathered_step, state, chosen)

        def train_call(state: TrainState, done: int) -> tuple[TrainState, jax.Array]:
            chosen = sharding.place(indices(done // plan.steps_per_call), split)  # [steps, b]
            return from_device(state, data, chosen)

        return train_call

    @partial(jax.jit, donate_argnums=0, out_shardings=everywhere)
    def from_host(state: TrainState, batches: PoseSet) -> tuple[TrainState, jax.Array]:
        return take_steps(step, state, batches)

    calls = plan.epochs * plan.steps_per_epoch // plan.steps_per_call
    batches = None

    def train_call(state: TrainState, done: int) -> tuple[TrainState, jax.Array]:
        nonlocal batches
        if batches is None:
            batches = stream(poses, indices, calls, first=done // plan.steps_per_call)
        return from_host(state, sharding.place(next(batches), split))

    return train_call


def make_plan(settings: PoseConfig, size: int) -> Plan:
    """How many steps a training part of `size` images makes."""
    train = settings.train
    steps = size // train.batch_size
    if not steps:
        raise UserError(
            f"config.train.batch_size: {train.batch_size} is more than the {size} training images; "
            f"accepted: at most {size}"
        )
    return Plan(
        epochs=train.epochs,
        steps_per_epoch=steps,
        steps_per_call=steps_per_call(steps, train.steps_per_call),
        evaluate_every=settings.evaluation.every,
        patience=train.patience,
        batch_size=train.batch_size,
    )


def epoch_metrics(
    state: TrainState, *, predictor: Predictor, parts: Parts, settings: PoseConfig
) -> dict[str, float]:
    """The losses and main scores of all three parts (the first images of the training part)."""
    values: dict[str, float] = {}
    for name, poses in evaluated_sets(parts, settings).items():
        predictions = predictor(state, poses)
        scores = metrics.score(
            predictions.joints,
            to_image_pixels(poses.joints, poses),
            poses.labelled,
            SKELETON,
            resamples=0,
        )
        if name != "train":
            values[f"{name}/loss"] = float(predictions.losses.mean())
        shown = {row: scores[row]["four_limbs"] for row in ("pcp_strict", "pcp_loose")}
        shown |= {f"pdj_{threshold}": row["total"] for threshold, row in scores["pdj"].items()}
        # A score is None where a part labels nothing that it could be measured on.
        values |= {f"{name}/{key}": value for key, value in shown.items() if value is not None}
    return values


def evaluated_sets(parts: Parts, settings: PoseConfig) -> dict[str, PoseSet]:
    """What each epoch is scored on: the validation and test parts, and the first images of the training part."""
    head = jax.tree.map(lambda array: array[: settings.evaluation.train_images], parts.train.poses)
    return {"train": head, "validation": parts.validation.poses, "test": parts.test.poses}


def mean_pose_joints(train: PoseSet, test: PoseSet) -> Float[np.ndarray, "n k 2"]:
    """The floor: the training part's mean pose in stage 1's boxes, drawn on every test image; image pixels."""
    mean = metrics.mean_pose(np.asarray(codec.encode(train.joints, train.boxes)), train.labelled)
    drawn = codec.decode(
        jnp.broadcast_to(jnp.asarray(mean, jnp.float32), test.joints.shape), test.boxes
    )
    return to_image_pixels(np.asarray(drawn), test)
