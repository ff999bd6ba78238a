"""Lowers every training step of a preset, for the devices there are, instead of running it.

The devices, the batches, the networks and the steps are those that training would use; only the state is described
by its shapes and shardings, since fourteen refiners of 58 million parameters don't fit into this machine's memory.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 python -m tests.soak.lowering [CONFIG:PRESET ...]
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import jax
import numpy as np
from jax.sharding import NamedSharding

import anomaly_jax.training
import classify_jax.training
import deeppose_jax.training
from anomaly_jax import config as anomaly_config
from anomaly_jax.data import load as anomaly_data
from classify_jax import config as classify_config
from classify_jax.data import load as classify_data
from deeppose_jax import config as pose_config
from deeppose_jax.cascade import StagePoses
from deeppose_jax.data import load as pose_data
from deeppose_jax.mesh import make_mesh
from deeppose_jax.predictor import Predictions
from deeppose_jax.previous_stage import MeasuredPoses
from deeppose_jax.training import TrainedStage, check_stages, train_stage
from engine_jax.config import from_mapping
from engine_jax.experiment import Run
from engine_jax.plan import make_plan
from engine_jax.run_folder import RunFolder
from engine_jax.sharding import device_mesh
from engine_jax.state import create_state
from launch_jax.flags import parse
from tests.soak.presets import all_presets, small_data


class _LoweredError(Exception):
    """Ends the training of a network where its steps are lowered."""


def lowered_steps(name: str, preset: str) -> list[str]:
    """Lowers a preset's training steps; returns a line for each, with the devices and the batch that each one sees."""
    config = parse("lowering", [f"--config={name}:{preset}", *small_data(name, preset)]).config
    return {"pose": _pose, "anomaly": _anomaly, "classify": _classify}[name](config.to_dict())


def _anomaly(config: dict[str, Any]) -> list[str]:
    settings = from_mapping(anomaly_config.AnomalyConfig, config)
    mesh = device_mesh(settings.train.batch_size)
    parts = anomaly_data.load_parts(settings.data, settings.model.input_size, settings.seed)
    plan = make_plan(settings.train, settings.evaluation.every, len(parts.train), mesh)
    run = Run(settings, parts, mesh, RunFolder(Path("nowhere")))
    with _lowering(anomaly_jax.training) as lines:
        anomaly_jax.training.train_detector(run, plan)
    return lines


def _classify(config: dict[str, Any]) -> list[str]:
    settings = from_mapping(classify_config.ClassificationConfig, config)
    mesh = device_mesh(settings.train.batch_size)
    parts = classify_data.load_parts(settings.data, settings.seed)
    plan = make_plan(settings.train, settings.evaluation.every, len(parts.train), mesh)
    run = Run(settings, parts, mesh, RunFolder(Path("nowhere")))
    with _lowering(classify_jax.training) as lines:
        classify_jax.training.train_classifier(run, plan)
    return lines


def _pose(config: dict[str, Any]) -> list[str]:
    settings = from_mapping(pose_config.PoseConfig, config)
    parts = pose_data.load_parts(settings.data, settings.seed)
    mesh = make_mesh(settings, parts.skeleton.num_joints)
    check_stages(settings, parts, mesh)
    run = Run(settings, parts, mesh, RunFolder(Path("nowhere")))
    lines = []
    for number in range(1, settings.stages + 1):
        before = [_trained(settings, parts, stage) for stage in range(1, number)]
        with _lowering(deeppose_jax.training) as found:
            train_stage(run, number, before)
        lines += found
    return lines


def _trained(settings: Any, parts: Any, number: int) -> TrainedStage:
    """A stage whose poses are the true ones, a few pixels away."""
    sets = deeppose_jax.training.evaluated_sets(parts, settings)
    rng = np.random.default_rng(number)
    predictions = {}
    for name, poses in sets.items():
        joints = poses.joints + rng.normal(0, 3, poses.joints.shape).astype(np.float32)
        scales = np.ones(joints.shape[:2], np.float32)
        found = StagePoses(joints, scales, poses.boxes[:, None])
        predictions[name] = Predictions(joints, np.zeros(len(joints)), found)
    measured = MeasuredPoses("validation", predictions["validation"].stage, sets["validation"])
    return TrainedStage(settings.stage(number), mock.Mock(), predictions, measured)


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


def _abstract_state(*arguments: Any, **options: Any) -> Any:
    """Shapes and shardings of the state that `create_state` would make."""
    everything, (_, _, key, sharding) = options, arguments[:4]
    rest = arguments[4:]

    def create(key: jax.Array) -> Any:
        return create_state(*arguments[:2], key, sharding, *rest, **everything)

    shapes = jax.eval_shape(create, key)

    def placed(sharding: NamedSharding, part: Any) -> Any:
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), part
        )

    return jax.tree.map(placed, sharding, shapes)


def _lower(lines: list[str], phases: Any, begin: Callable[[Any], Any], *_: Any, **__: Any) -> None:
    for phase in phases:
        state, train_call = begin(phase)
        text = jax.jit(train_call, static_argnums=1).lower(state, 0).as_text()
        devices = text.partition("mhlo.num_partitions = ")[2].partition(" ")[0]
        lines.append(f"{phase.name}: batches of {phase.plan.batch_size} on {devices} devices")
    raise _LoweredError


if __name__ == "__main__":
    asked = [tuple(argument.split(":")) for argument in sys.argv[1:]] or all_presets()
    for name, preset in asked:
        print(f"{name}:{preset}", "; ".join(lowered_steps(name, preset)), flush=True)
