"""Factors that make predicted scales the errors that are seen."""

import json
from dataclasses import replace

import numpy as np
import pytest

import deeppose_jax
from deeppose_jax.cascade import StagePoses
from deeppose_jax.data.load import load_parts
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.evaluate import load_predictions
from deeppose_jax.pose_model import PoseModel
from deeppose_jax.predictor import to_image_pixels
from deeppose_jax.scale_factors import (
    NAME,
    calibrated,
    expected_and_seen,
    read_factors,
    scale_factors,
    write_factors,
)
from deeppose_jax.skeleton import LSP
from engine_jax.errors import UserError
from tests.deeppose_jax.cascades import random_cascade
from tests.deeppose_jax.runs import launch_here

NETWORKS = ("model", "refiner.model")
SMALL_NETWORK = (
    "input_size=32",
    "compact.widths=(8,8)",
    "compact.blocks=(1,0)",
    "compact.out_channels=8",
)


def laplace_poses(wrong_by, n=4000, seed=0):
    """True poses, and a stage's whose errors are Laplace's with means of `wrong_by` [k] times its scales."""
    rng = np.random.default_rng(seed)
    joints = rng.uniform(0, 100, (n, 14, 2)).astype(np.float32)
    scales = rng.uniform(1, 5, (n, 14)).astype(np.float32)
    errors = rng.laplace(0, (scales * wrong_by)[..., None], (n, 14, 2))
    labelled = rng.random((n, 14)) < 0.8
    true = PoseSet(
        canvases=np.zeros((n, 1, 1, 3), np.uint8),
        joints=joints,
        labelled=labelled,
        boxes=np.zeros((n, 4), np.float32),
        to_image=np.tile(np.eye(2, 3, dtype=np.float32), (n, 1, 1)),
    )
    found = np.where(labelled[..., None], joints + errors, 1e6)
    return StagePoses(found.astype(np.float32), scales, true.boxes[:, None]), true


def symmetric(seed):
    factors = np.random.default_rng(seed).uniform(0.5, 3, 14)
    return (factors + factors[list(LSP.swap)]) / 2


def test_the_factors_are_how_much_too_small_scales_are_and_hold_on_other_images():
    wrong_by = symmetric(1)
    factors = scale_factors(*laplace_poses(wrong_by), LSP)
    np.testing.assert_allclose(factors, wrong_by, rtol=0.05)
    found, true = laplace_poses(wrong_by, seed=1)
    expected, seen = expected_and_seen(calibrated(found, factors), true)
    np.testing.assert_allclose(expected, seen, rtol=0.06)
    before, _ = expected_and_seen(found, true)
    assert np.abs(before / seen - 1).max() > 0.3


def test_left_and_right_share_a_factor_and_an_unlabelled_joint_has_none():
    found, true = laplace_poses(np.ones(14), n=50)
    neck = LSP.joints.index("neck")
    labelled = true.labelled.copy()
    labelled[:, neck] = False
    factors = scale_factors(found, replace(true, labelled=labelled), LSP)
    assert factors is not None
    np.testing.assert_array_equal(factors, factors[list(LSP.swap)])
    assert factors[neck] == 1
    assert len(set(factors.round(6))) == 8
    expected, seen = expected_and_seen(found, replace(true, labelled=labelled))
    assert np.isnan(expected[neck])
    assert np.isnan(seen[neck])


def test_a_stage_without_scales_has_no_factors():
    found, true = laplace_poses(np.ones(14), n=5)
    bare = replace(found, scales=None)
    assert scale_factors(bare, true, LSP) is None
    assert calibrated(bare, np.ones(14)).scales is None


def test_a_model_multiplies_its_scales_and_its_file_keeps_the_factors(tmp_path):
    raw = random_cascade("shared")
    factors = [None, symmetric(2)]
    model = PoseModel(raw.settings, LSP, raw.cascade, factors)
    deeppose_jax.save(model, tmp_path / "model.safetensors")
    image = np.random.default_rng(0).integers(0, 256, (60, 40, 3), np.uint8)
    (expected,) = raw.predict(image)
    for found in (model, deeppose_jax.load(tmp_path / "model.safetensors")):
        (pose,) = found.predict(image)
        np.testing.assert_array_equal(pose.stages[0].scales, expected.stages[0].scales)
        np.testing.assert_allclose(pose.scales, expected.scales * factors[1], rtol=1e-5)
        np.testing.assert_array_equal(pose.joints, expected.joints)


@pytest.mark.parametrize("stored", [[1.0] * 13, [1.0] * 13 + [0.0], [1.0] * 13 + [True], "1"])
def test_damaged_factors_are_named(tmp_path, stored):
    write_factors(tmp_path, np.ones(14))
    np.testing.assert_array_equal(read_factors(tmp_path, 14), np.ones(14))
    (tmp_path / NAME).write_text(
        f'{{"factors": {str(stored).replace("True", "true")}}}'.replace("'", '"')
    )
    with pytest.raises(
        UserError, match=r"scale_factors\.json: factors of scales are .* accepted: 14"
    ):
        read_factors(tmp_path, 14)


def test_a_runs_factors_are_fitted_on_its_validation_images(tmp_path):
    """In the model that is loaded from the run, too, and results say what they are worth on test images.

    The mean of both stages is by the scales as the heads predict them, in the run and in the model.
    """
    done = launch_here(
        *("--config.stages=2", "--config.data.train=32", "--config.data.validation=8"),
        *("--config.data.test=8", "--config.data.canvas=48", "--config.refiner.train.epochs=1"),
        *("--config.train.epochs=1", "--config.evaluation.every=1"),
        *("--config.evaluation.bootstrap=1", f"--workdir={tmp_path}"),
        "--config.refiner.combine=weighted",
        *(f"--config.{network}.{value}" for network in NETWORKS for value in SMALL_NETWORK),
        preset="demo",
    )
    assert done.returncode == 0, done.stderr
    model = deeppose_jax.load(tmp_path)
    parts = load_parts(model.settings.data, model.settings.seed)
    swap = list(LSP.swap)
    stages = json.loads((tmp_path / "results.json").read_text())["stages"]
    raw = model.cascade.predict(parts.validation.poses.canvases, parts.validation.poses.boxes)
    on_test = model.cascade.predict(parts.test.poses.canvases, parts.test.poses.boxes)
    joints = load_predictions(tmp_path / "predictions" / "stage_2.mat", slice(0, 8), 8)
    expected = to_image_pixels(on_test[1].joints, parts.test.poses) + 1  # MATLAB's pixels
    np.testing.assert_allclose(joints, expected, atol=1e-3)
    for poses, tested, factors, stage in zip(
        raw, on_test, model.scale_factors, stages, strict=True
    ):
        assert factors is not None
        assert np.abs(factors - 1).max() > 0.1
        found = expected_and_seen(calibrated(poses, factors), parts.validation.poses)
        np.testing.assert_allclose(*(each + each[swap] for each in found), rtol=1e-3)
        found = expected_and_seen(calibrated(tested, factors), parts.test.poses)
        for name, values in zip(("expected_error", "error"), found, strict=True):
            np.testing.assert_allclose(stage["scales"][name], values, rtol=1e-2)
