"""Lowers every training step of a preset, for the devices there are, instead of running it.

The devices, the batches, the networks and the steps are those of training. The images are blank, a batch of them, and
the state is given by its shapes and shardings: fourteen refiners of 58 million parameters need a larger machine.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 python -m tests.soak.lowering [CONFIG:PRESET ...]
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any
from unittest import mock

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

import anomaly_jax.training
import classify_jax.training
import deeppose_jax.training
from anomaly_jax.config import AnomalyConfig
from anomaly_jax.data import load as anomaly_data
from classify_jax.config import ClassificationConfig
from classify_jax.data import load as classify_data
from classify_jax.synthetic import CLASSES
from deeppose_jax.boxes import whole_image
from deeppose_jax.cascade import StagePoses
from deeppose_jax.config import PoseConfig
from deeppose_jax.data import load as pose_data
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.mesh import make_mesh
from deeppose_jax.predictor import Predictions
from deeppose_jax.previous_stage import MeasuredPoses
from deeppose_jax.skeleton import LSP
from deeppose_jax.training import TrainedStage
from engine_jax.config import from_mapping
from engine_jax.experiment import Run
from engine_jax.parts import Parts
from engine_jax.plan import make_plan
from engine_jax.run_folder import RunFolder
from engine_jax.sharding import device_mesh
from engine_jax.state import create_state
from launch_jax.flags import parse
from tests.soak.presets import all_presets


class _LoweredError(Exception):
    """Ends the training of a network where its steps are lowered."""


def lowered_steps(name: str, preset: str) -> list[str]:
    """Lowers a preset's training steps; returns a line for each, with the devices and the batch that each one sees."""
    config = parse("lowering", [f"--config={name}:{preset}"]).config
    return {"pose": _pose, "anomaly": _anomaly, "classify": _classify}[name](config.to_dict())


def _anomaly(config: dict[str, Any]) -> list[str]:
    settings = from_mapping(AnomalyConfig, config)
    side, count = settings.model.input_size, settings.train.batch_size
    images = anomaly_data.ImageSet(
        images=np.zeros((count, side, side, 3), np.uint8),
        masks=np.zeros((count, side, side), bool),
        labelled=np.ones(count, bool),
        defects=np.zeros(count, np.int32),
        sizes=np.full((count, 2), side),
    )
    part = anomaly_data.Part(images, [""] * count)
    mesh = device_mesh(count)
    plan = make_plan(settings.train, settings.evaluation.every, count, mesh)
    with _lowering(anomaly_jax.training) as lines:
        anomaly_jax.training.train_detector(_run(settings, Parts(part, part, part), mesh), plan)
    return lines


def _classify(config: dict[str, Any]) -> list[str]:
    settings = from_mapping(ClassificationConfig, config)
    side, count = settings.data.size, settings.train.batch_size
    images = np.random.default_rng(0).integers(0, 256, (count, 1, 1, 3), np.uint8)
    images = np.broadcast_to(images, (count, side, side, 3))
    labels = np.arange(count, dtype=np.int32) % len(CLASSES)
    part = classify_data.ImageSet(images, labels, [""] * count, CLASSES)
    parts = classify_data.Parts(part, part, part)
    mesh = device_mesh(count)
    plan = make_plan(settings.train, settings.evaluation.every, count, mesh)
    with _lowering(classify_jax.training) as lines:
        classify_jax.training.train_classifier(_run(settings, parts, mesh), plan)
    return lines


def _pose(config: dict[str, Any]) -> list[str]:
    settings = from_mapping(PoseConfig, config)
    side, count = settings.data.canvas, settings.train.batch_size
    k, rng = LSP.num_joints, np.random.default_rng(0)
    poses = PoseSet(
        canvases=np.zeros((count, side, side, 3), np.uint8),
        joints=rng.uniform(0.2 * side, 0.8 * side, (count, k, 2)).astype(np.float32),
        labelled=np.ones((count, k), bool),
        boxes=np.tile(np.float32(whole_image(side, side)), (count, 1)),
        to_image=np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1)),
    )
    part = pose_data.Part(poses, [""] * count)
    parts = pose_data.Parts(part, part, part)
    mesh = make_mesh(settings, k)
    lines = []
    for number in range(1, min(settings.stages, 2) + 1):  # All later ones are like the second.
        before = [_trained(settings, parts, stage) for stage in range(1, number)]
        with _lowering(deeppose_jax.training) as found:
            deeppose_jax.training.train_stage(_run(settings, parts, mesh), number, before)
        lines += found
    return lines


def _run(settings: Any, parts: Any, mesh: Mesh) -> Run[Any, Any]:
    return Run(settings, parts, mesh, RunFolder("nowhere"))


def _trained(settings: Any, parts: Any, number: int) -> TrainedStage:
    """A stage whose poses are the true ones, a few pixels away."""
    evaluated = deeppose_jax.training.evaluated_parts(parts, settings)
    sets = {name: part.poses for name, part in evaluated.items()}
    rng = np.random.default_rng(number)
    predictions = {}
    for name, poses in sets.items():
        joints = poses.joints + rng.normal(0, 3, poses.joints.shape).astype(np.float32)
        scales = np.ones(joints.shape[:2], np.float32)
        found = StagePoses(joints, scales, poses.boxes[:, None])
        predictions[name] = Predictions(joints, np.zeros(len(joints)), found)
    measured = MeasuredPoses("validation", predictions["validation"].stage, sets["validation"])
    return TrainedStage(settings.stage(number), mock.Mock(), predictions, None, measured)


@contextmanager
def _lowering(training: ModuleType) -> Iterator[list[str]]:
    """Within it, a task's training lowers its steps where it would fit a network."""
    lines: list[str] = []
    replaced = {"create_state": _abstract_state, "fit": partial(_lower, lines)}
    with mock.patch.multiple(training, **replaced):
        try:
            yield lines
        except _LoweredError:
            return
    raise AssertionError("nothing was lowered")


def _abstract_state(
    build: Any, optimizer: Any, key: jax.Array, sharding: Any, **options: Any
) -> Any:
    """Shapes and shardings of the state that `create_state` would make."""
    create = partial(create_state, build, optimizer, sharding=sharding, **options)
    shapes = jax.eval_shape(lambda key: create(key=key), key)

    def placed(sharding: NamedSharding, part: Any) -> Any:
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), part
        )

    return jax.tree.map(placed, sharding, shapes)


def _lower(lines: list[str], phases: Any, begin: Callable[[Any], Any], *_: Any, **__: Any) -> None:
    for phase in phases:
        state, train_call = begin(phase)
        module = jax.jit(train_call, static_argnums=1).lower(state, 0).compiler_ir()
        devices = module.operation.attributes["mhlo.num_partitions"].value
        lines.append(f"{phase.name}: batches of {phase.plan.batch_size} on {devices} devices")
    raise _LoweredError


if __name__ == "__main__":
    asked = [tuple(argument.split(":")) for argument in sys.argv[1:]] or all_presets()
    for name, preset in asked:
        print(f"{name}:{preset}", "; ".join(lowered_steps(name, preset)), flush=True)
