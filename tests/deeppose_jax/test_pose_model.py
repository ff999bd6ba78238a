import dataclasses
from functools import partial

import jax
import numpy as np
import pytest
import safetensors
from flax import nnx

import deeppose_jax
from configs.pose import get_config
from deeppose_jax.cascade import Cascade
from deeppose_jax.config import PoseConfig
from deeppose_jax.pose_model import PoseModel
from deeppose_jax.skeleton import LSP
from deeppose_jax.stages import as_stage, stage_network
from engine_jax.config import from_mapping
from engine_jax.errors import UserError


def cascade_of(form: str) -> PoseModel:
    """Two stages with random weights, as a run of the demo would leave them."""
    config = get_config("demo")
    config.stages = 2
    config.data.dir = "/somewhere/lsp"
    config.data.canvas = 48
    config.refiner.form = form
    config.refiner.initial_weights = "random"
    config.refiner.joints_per_image = 0
    for model in (config.model, config.refiner.model):
        model.input_size = 32
        model.compact.widths, model.compact.blocks = (4, 8), (1, 1)
        model.compact.out_channels = 4
    settings = from_mapping(PoseConfig, config.to_dict())

    @partial(jax.jit, static_argnums=0)
    def network(number: int, key: jax.Array):
        stage = settings.stage(number)
        return nnx.split(stage_network(stage, LSP.num_joints, rngs=nnx.Rngs(key)))

    stages = []
    for number in (1, 2):
        made = nnx.merge(*network(number, jax.random.key(number)))
        made.eval()
        stages.append(as_stage(made, settings.stage(number)))
    return PoseModel(settings, LSP, Cascade(stages, settings.cascade, LSP))


@pytest.fixture(scope="module", params=["shared", "per_joint"])
def model(request) -> PoseModel:
    return cascade_of(request.param)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (60, 40, 3), np.uint8) for _ in range(2)]


def test_a_model_read_from_its_file_predicts_the_same(model, images, tmp_path):
    deeppose_jax.save(model, tmp_path / "model.safetensors")
    read = deeppose_jax.load(tmp_path / "model.safetensors")
    for expected, found in zip(model.predict(images), read.predict(images), strict=True):
        assert len(found.stages) == 2
        for before, after in zip(expected.stages, found.stages, strict=True):
            np.testing.assert_array_equal(after.joints, before.joints)
            np.testing.assert_array_equal(after.scales, before.scales)


def test_numbers_of_16_bits_hardly_move_a_joint(model, images, tmp_path):
    for name, half in (("whole", False), ("half", True)):
        deeppose_jax.save(model, tmp_path / name, half=half)
    read = deeppose_jax.load(tmp_path / "half")
    sizes = [(tmp_path / name).stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.7 * sizes[1]
    for expected, found in zip(model.predict(images), read.predict(images), strict=True):
        np.testing.assert_allclose(found.joints, expected.joints, atol=0.1)


def test_a_file_doesnt_say_where_anything_lay(model, tmp_path):
    weights = dataclasses.replace(model.settings.model, backbone="resnet18", weights="/a/b.pth")
    settings = dataclasses.replace(model.settings, model=weights)
    deeppose_jax.save(PoseModel(settings, LSP, model.cascade), tmp_path / "model.safetensors")
    with safetensors.safe_open(tmp_path / "model.safetensors", "numpy") as file:
        config = file.metadata()["config"]
    assert '"weights": "b.pth"' in config
    assert "/a" not in config
    assert "/somewhere" not in config


def test_a_model_of_another_task_is_refused(tmp_path):
    model = cascade_of("shared")
    settings = dataclasses.replace(model.settings, task="anomaly")
    deeppose_jax.save(PoseModel(settings, LSP, model.cascade), tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="holds a run of the task 'anomaly'; accepted: 'pose'"):
        deeppose_jax.load(tmp_path / "model.safetensors")
