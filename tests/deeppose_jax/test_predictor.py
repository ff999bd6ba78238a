from dataclasses import replace
from functools import partial

import jax
import numpy as np
import optax
import pytest

from deeppose_jax.cascade import StagePoses
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.predictor import Predictor
from deeppose_jax.refiner_boxes import to_frame
from deeppose_jax.skeleton import LSP
from deeppose_jax.stages import stage_network
from engine_jax import sharding
from engine_jax.state import Variables, create_state, graph_defs
from tests.deeppose_jax.cascades import demo_settings

SIDE = 48


@pytest.fixture(scope="module")
def poses() -> PoseSet:
    rng, n = np.random.default_rng(0), 3
    joints = rng.uniform(10, 38, (n, 14, 2)).astype(np.float32)
    return PoseSet(
        canvases=rng.integers(0, 256, (n, SIDE, SIDE, 3), np.uint8),
        joints=joints,
        labelled=np.ones((n, 14), bool),
        boxes=np.tile(np.float32([-0.5, -0.5, SIDE - 0.5, SIDE - 0.5]), (n, 1)),
        to_image=np.tile(np.eye(2, 3, dtype=np.float32), (n, 1, 1)),
    )


def test_a_refiners_loss_is_its_own_and_not_that_of_what_it_is_combined_with(poses):
    """The loss that is trained: of the refiner's estimates in its crops."""
    settings = demo_settings("shared")
    stage = settings.stage(2)
    build = partial(stage_network, stage, 14)
    mesh = sharding.device_mesh(joint=1)
    variables: Variables = create_state(
        build, optax.sgd(1.0), jax.random.key(1), sharding.replicated(mesh)
    ).variables
    offsets = np.random.default_rng(1).normal(0, 2, poses.joints.shape).astype(np.float32)
    before = StagePoses(
        poses.joints + offsets, np.full((3, 14), 1.5, np.float32), poses.boxes[:, None]
    )
    found = {}
    for combine in ("replace", "weighted"):
        refiner = replace(settings.refiner, combine=combine)
        predictor = Predictor(
            graph_defs(build).evaluate, stage, replace(settings, refiner=refiner), LSP, mesh
        )
        found[combine] = predictor(variables, poses, before)
    assert np.abs(found["replace"].joints - found["weighted"].joints).max() > 0.1
    np.testing.assert_array_equal(found["replace"].losses, found["weighted"].losses)
    # Laplace's negative logarithm of the likelihood, of both coordinates.
    alone = found["replace"].stage
    error = np.abs(to_frame(alone.joints, alone.boxes) - to_frame(poses.joints, alone.boxes)).sum(
        -1
    )
    sides = np.asarray(alone.boxes[..., 2] - alone.boxes[..., 0])
    scales = np.asarray(alone.scales) / sides
    expected = (error / scales + 2 * np.log(2 * scales)).sum(-1)
    np.testing.assert_allclose(found["replace"].losses, expected, rtol=1e-3)
