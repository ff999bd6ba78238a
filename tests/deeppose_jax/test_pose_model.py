import dataclasses

import numpy as np
import pytest
import safetensors

import deeppose_jax
from deeppose_jax.pose_model import PoseModel
from deeppose_jax.skeleton import LSP
from engine_jax.errors import UserError
from tests.deeppose_jax.cascades import random_cascade


@pytest.fixture(scope="module", params=["shared", "per_joint"])
def model(request) -> PoseModel:
    return random_cascade(request.param)


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
    model = random_cascade("shared")
    settings = dataclasses.replace(model.settings, task="anomaly")
    deeppose_jax.save(PoseModel(settings, LSP, model.cascade), tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="holds a run of the task 'anomaly'; accepted: 'pose'"):
        deeppose_jax.load(tmp_path / "model.safetensors")


def test_the_first_stages_can_be_loaded_alone(tmp_path):
    """Of a file here; a run's folder may lack the checkpoints of stages that it is still training."""
    whole = random_cascade("shared")
    deeppose_jax.save(whole, tmp_path / "model.safetensors")
    image = np.random.default_rng(0).integers(0, 256, (60, 50, 3), np.uint8)
    (both,) = whole.predict(image)
    model = deeppose_jax.load(tmp_path / "model.safetensors", stages=1)
    assert model.settings.stages == 1
    (first,) = model.predict(image)
    assert len(first.stages) == 1
    np.testing.assert_allclose(first.joints, both.stages[0].joints, atol=1e-4)
    for stages in (0, 3):
        with pytest.raises(UserError, match=rf"stages: {stages} .* has 2; accepted: 1 to 2"):
            deeppose_jax.load(tmp_path / "model.safetensors", stages=stages)
