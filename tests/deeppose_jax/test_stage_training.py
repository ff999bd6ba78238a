"""What the stages of a cascade are trained on and start from, and how devices divide them."""

import ast
import json
from functools import partial

import numpy as np
import pytest
from flax import nnx

from configs.pose import get_config
from deeppose_jax import Regressor, load, make_skeleton
from deeppose_jax.config import SCHEMA
from deeppose_jax.data.load import load_parts
from deeppose_jax.previous_stage import MeasuredPoses
from deeppose_jax.skeleton import LSP
from deeppose_jax.stages import stage_network
from deeppose_jax.train import train_and_evaluate
from engine_jax.loop import best_variables
from engine_jax.plan import make_plan
from engine_jax.randomness import key_for
from engine_jax.run_folder import RunFolder
from engine_jax.sharding import device_mesh
from engine_jax.state import variables_by_name
from tests.deeppose_jax.coco_files import coco_set
from tests.deeppose_jax.lsp_folder import tiny_lsp
from tests.deeppose_jax.runs import REFINERS, TINY, launch, launch_here
from tests.deeppose_jax.test_train import losses, stage_arrays

SIZES = {"train": 20, "test": 4}


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    data = tiny_lsp(tmp_path_factory.mktemp("data") / "lsp", count=40)
    return (*TINY, *REFINERS, f"--config.data.dir={data.path}")


def test_four_devices_divide_joints_and_images_and_train_as_one(tmp_path):
    """Two joints, since each has a network that must be compiled; stage 1's batch norm sees the whole batch."""
    few = make_skeleton(("right_elbow", "left_elbow"), [(0, 1)])
    parts = {name: coco_set(tmp_path, name, count, few) for name, count in SIZES.items()}
    data = [f"--config.data.coco.{name}={path}" for name, path in parts.items()]
    arguments = (*TINY, *REFINERS, "--config.data.dataset=coco", *data)
    arguments += ("--config.model.alexnet.norm=batch",)
    runs = []
    for devices, joints in ((1, 1), (4, 2)):
        runs.append(tmp_path / str(devices))
        changes = ("--config.stages=2", "--config.refiner.form=per_joint")
        changes += ("--config.refiner.measured_on=validation", "--config.train.epochs=1")
        changes += ("--config.refiner.train.epochs=1",)
        changes += (f"--config.refiner.joint_devices={joints}", f"--workdir={runs[-1]}")
        start = launch_here if devices == 1 else partial(launch, devices=devices)
        done = start(*arguments, *changes)
        assert done.returncode == 0, done.stderr
        assert not (runs[-1] / "checkpoints" / "stage_1" / "train_poses.npz").exists()
    one, four = (stage_arrays(run, "stage_2") for run in runs)
    assert one.keys() == four.keys()
    for name, array in one.items():
        np.testing.assert_allclose(four[name], array, atol=1e-5, err_msg=name)
    for stage in ("stage_1", "stage_2"):
        np.testing.assert_allclose(*(losses(run, stage) for run in runs), rtol=1e-4)


@pytest.mark.parametrize("part", ["train", "validation"])
def test_refiners_are_trained_on_errors_of_the_part_that_the_config_names(
    part, arguments, tmp_path, monkeypatch
):
    """The displacements are those that training's own poses of that part give."""
    measured = []
    normals = MeasuredPoses.normals

    def recorded(self, skeleton):
        measured.append(self)
        return normals(self, skeleton)

    monkeypatch.setattr(MeasuredPoses, "normals", recorded)
    flags = dict(argument[9:].split("=", 1) for argument in arguments)
    config = get_config("augmented")
    with config.unlocked():
        config.update_from_flattened_dict(
            {name: literal(value) for name, value in flags.items()}
            | {"stages": 2, "train.epochs": 1, "refiner.train.epochs": 1}
            | {"refiner.form": "shared", "refiner.measured_on": part}
        )
    train_and_evaluate(config.to_dict(), tmp_path / "run", pictures=False)
    parts = load_parts(RunFolder(tmp_path / "run").read_settings(SCHEMA).data, 0)
    expected = getattr(parts, part).poses
    for found in measured:
        np.testing.assert_array_equal(found.poses.joints, expected.joints)
        poses = load(tmp_path / "run").cascade.predict(expected.canvases, expected.boxes)
        np.testing.assert_allclose(found.predicted.joints, poses[0].joints, atol=1e-3)
    assert measured


def literal(text):
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def best_arrays(workdir, phase):
    """All arrays of a phase's best variables, by name."""
    settings = RunFolder(workdir).read_settings(SCHEMA)
    build = partial(stage_network, settings.stage(1), LSP.num_joints)
    found = best_variables(RunFolder(workdir), phase.name, build, trained=phase.trained)
    return {name: np.asarray(array) for name, array in found.by_name().items()}


def test_a_frozen_backbone_thaws_and_starts_the_next_stage(arguments, tmp_path):
    workdir = tmp_path / "run"
    done = launch_here(
        *(argument for argument in arguments if "refiner.model" not in argument),
        "--config.refiner.form=shared",
        "--config.stages=2",
        "--config.refiner.initial_weights=previous",
        "--config.refiner.model.alexnet.widths=(8,8,8,8,8)",
        "--config.refiner.model.alexnet.first_kernel=5",
        "--config.refiner.model.alexnet.first_stride=2",
        "--config.refiner.model.alexnet.norm=lrn",
        "--config.refiner.model.input_size=40",
        "--config.refiner.model.hidden=(16,)",
        "--config.transfer.train=('head',)",
        "--config.transfer.thaw_after_epochs=1",
        f"--workdir={workdir}",
    )
    assert done.returncode == 0, done.stderr
    settings = RunFolder(workdir).read_settings(SCHEMA)
    plan = make_plan(settings.train, settings.evaluation.every, 16, device_mesh())
    first, second = settings.transfer.phases("stage_1", plan)
    frozen, thawed = best_arrays(workdir, first), best_arrays(workdir, second)
    key = key_for(settings.seed, first.name, "parameters")
    random = Regressor(settings.model, LSP.num_joints, rngs=nnx.Rngs(key))
    given = variables_by_name(random)
    changed = {name for name in frozen if not np.allclose(frozen[name], given[name], atol=1e-6)}
    assert changed
    assert all(name.startswith("head.") for name in changed)
    later = {name for name in thawed if not np.array_equal(thawed[name], frozen[name])}
    assert any(name.startswith("backbone.") for name in later)
    (stage, _) = json.loads((workdir / "results.json").read_text())["stages"]
    assert stage["epochs"] == 2
    (pose,) = load(workdir).predict([np.zeros((48, 48, 3), np.uint8)])
    assert len(pose.stages) == 2
    assert np.isfinite(pose.joints).all()
