"""The cascade's arithmetic: what goes from stage to stage, whatever the networks estimate."""

from dataclasses import replace
from functools import partial

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from deeppose_jax import Cascade, CascadeConfig, affine, cascade, codec
from deeppose_jax.boxes import centre_and_size, from_centre_and_size, whole_image
from deeppose_jax.heads import Estimate
from deeppose_jax.refiner_boxes import boxes_around, from_frame, to_frame
from deeppose_jax.skeleton import LSP
from deeppose_jax.stages import as_stage
from tests.deeppose_jax.cascades import random_network
from tests.deeppose_jax.settings import TORSO, tiny

SIDE = 64
SMALL = CascadeConfig(input_size=32, refiner_size=24, sigma=1.0)


class Constant(nnx.Module):
    """A stage whose estimate is the same for every input."""

    def __init__(self, joints, scales=None):
        self.joints = nnx.Variable(jnp.asarray(joints, jnp.float32))
        self.scales = None if scales is None else nnx.Variable(jnp.asarray(scales, jnp.float32))

    def __call__(self, crops):
        return Estimate(self.joints[...], None if self.scales is None else self.scales[...])


def images(seed=0, count=3):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def poses(seed, count=3, skeleton=LSP):
    """In stage 1's frame; within the middle of the image."""
    return np.random.default_rng(seed).uniform(-0.4, 0.4, (count, skeleton.num_joints, 2))


def whole(count=3):
    return jnp.broadcast_to(jnp.array(whole_image(SIDE, SIDE)), (count, 4))


def real_cascade(settings, skeleton, stages=3):
    """Untrained networks, whose outputs are wide enough to matter."""
    networks = [
        as_stage(random_network(stage, skeleton.num_joints, stage.number, wider=0.05), stage)
        for stage in map(settings.stage, range(1, stages + 1))
    ]
    return Cascade(networks, settings.cascade, skeleton)


decode = jax.jit(codec.decode)
around = jax.jit(boxes_around, static_argnums=(2, 3))
framed_in, from_frames = jax.jit(to_frame), jax.jit(from_frame)


@partial(nnx.jit, static_argnums=(3, 4))
def first_stage(*arguments):
    return cascade.first_stage(*arguments)


@pytest.mark.parametrize("stages", [1, 2, 3, 5])
def test_refiners_that_estimate_zero_leave_stage_1s_pose(stages):
    first = poses(0)
    silent = [Constant(np.zeros((3, 14, 2)))] * (stages - 1)
    found = Cascade([Constant(first), *silent], SMALL, LSP).predict(images())
    assert len(found) == stages
    expected = decode(jnp.asarray(first), whole())
    for stage in found:
        np.testing.assert_allclose(stage.joints, expected, atol=1e-4)


def test_refiners_that_know_the_truth_give_the_truth():
    """Of image sides 1e-4, from boxes that stage 1's wrong pose makes; the third stage has nothing left to do."""
    true = decode(jnp.asarray(poses(1)), whole())
    first = Constant(poses(2))
    before, _ = first_stage(first, images(), whole(), SMALL, LSP)
    boxes = around(before.joints, whole(), SMALL.sigma, LSP)
    oracle = Constant(framed_in(true, boxes))
    found = Cascade([first, oracle, Constant(np.zeros((3, 14, 2)))], SMALL, LSP).predict(images())
    assert np.abs(found[0].joints - true).max() > 10
    np.testing.assert_array_equal(found[1].boxes, boxes)
    for stage in found[1:]:
        np.testing.assert_allclose(stage.joints, true, atol=1e-4 * SIDE)


def test_boxes_are_sigma_diams_about_the_previous_pose():
    pose = np.zeros((14, 2))
    pose[9], pose[2] = (0.15, -0.2), (-0.15, 0.2)  # half a box apart
    pose[8], pose[3] = (-0.15, -0.2), (0.15, 0.2)
    silent = Constant(np.zeros((1, 14, 2)))
    config = replace(SMALL, sigma=1.5)
    found = Cascade([Constant(pose[None]), silent], config, LSP).predict(images(0, 1))
    np.testing.assert_allclose(found[0].boxes, whole(1)[:, None])
    centres, sizes = centre_and_size(found[1].boxes)
    np.testing.assert_allclose(centres, found[0].joints, rtol=1e-6)
    np.testing.assert_allclose(sizes, 1.5 * 0.5 * SIDE, rtol=1e-5)


def test_a_collapsed_torso_makes_no_empty_box():
    silent = Constant(np.zeros((1, 14, 2)))
    collapsed = Constant(np.zeros((1, 14, 2)))
    found = Cascade([collapsed, silent], replace(SMALL, sigma=2.0), LSP).predict(images(0, 1))
    sizes = centre_and_size(found[1].boxes)[1]
    np.testing.assert_allclose(sizes, 2.0 * 0.1 * SIDE, rtol=1e-5)


def test_stage_1s_estimate_is_in_the_frame_of_the_persons_box():
    box = jnp.array([[12.0, 18.0, 28.0, 42.0]])
    found = Cascade([Constant(np.full((1, 14, 2), 0.25))], SMALL, LSP).predict(images(0, 1), box)
    np.testing.assert_allclose(found[0].joints, np.broadcast_to([24.0, 36.0], (1, 14, 2)))


def test_weighted_poses_are_means_by_predicted_precision():
    """Two measurements of one joint, with predicted errors of 1 and 3 pixels: the weights are 9 and 1."""
    weighted = replace(SMALL, combine="weighted")
    shape = (1, 14)
    first = Constant(poses(3, 1), np.full(shape, 3 / SIDE))
    before, _ = first_stage(first, images(0, 1), whole(1), weighted, LSP)
    sizes = centre_and_size(around(before.joints, whole(1), weighted.sigma, LSP))[1]
    side = float(sizes[0, 0, 0])
    moved = Constant(np.broadcast_to([10 / side, -5 / side], (1, 14, 2)), np.full(shape, 1 / side))
    found = Cascade([first, moved], weighted, LSP).predict(images(0, 1))
    np.testing.assert_allclose(found[0].scales, np.full(shape, 3.0), rtol=1e-5)
    difference = np.asarray(found[1].joints - found[0].joints)
    np.testing.assert_allclose(difference, np.broadcast_to([9.0, -4.5], (1, 14, 2)), atol=1e-3)
    np.testing.assert_allclose(found[1].scales, np.full(shape, (1 / 9 + 1) ** -0.5), rtol=1e-4)
    replaced = Cascade([first, moved], SMALL, LSP).predict(images(0, 1))
    difference = np.asarray(replaced[1].joints - replaced[0].joints)
    np.testing.assert_allclose(difference, np.broadcast_to([10.0, -5.0], (1, 14, 2)), atol=1e-3)


@pytest.mark.parametrize("form", ["per_joint", "shared"])
def test_a_flip_commutes_with_prediction(form):
    """With the flip test, whatever the weights are; without it these weights would not."""
    changes = {"refiner__form": form, "stages": 2, "refiner__combine": "weighted"}
    changes |= {"model__head": "integral", "refiner__model__head": "integral"}
    changes |= {"model__backbone": "compact", "refiner__model__backbone": "compact"}
    swap = np.array(TORSO.swap)

    def mirrored(joints):
        return np.asarray(joints)[:, swap] * [-1, 1] + [SIDE - 1, 0]

    for flip_test in (True, False):
        settings = tiny(**changes, evaluation__flip_test=flip_test)
        model = real_cascade(settings, TORSO, stages=2)
        there, back = model.predict(images()), model.predict(images()[:, :, ::-1])
        for stage, other in zip(there, back, strict=True):
            worst = np.abs(mirrored(stage.joints) - other.joints).max()
            assert worst < 1e-3 if flip_test else worst > 1e-2
            assert stage.scales is not None
            assert np.isfinite(stage.scales).all()


def test_prediction_is_compiled_once():
    model = Cascade([Constant(poses(4)), Constant(np.zeros((3, 14, 2)))], SMALL, LSP)
    model.predict(images(1))
    before = cascade._predict._cache_size()
    model.predict(images(2))
    assert cascade._predict._cache_size() == before
    again = Cascade([Constant(poses(5)), Constant(np.zeros((3, 14, 2)))], SMALL, LSP)
    again.predict(images(1))
    assert cascade._predict._cache_size() == before


def test_gradients_flow_from_the_last_stage_to_the_image():
    model = real_cascade(tiny(refiner__form="shared", stages=2), TORSO, stages=2)
    canvases = jnp.asarray(images(0, 1), jnp.float32) / 255
    predict = partial(model.predictor(), boxes=whole(1))
    grads = jax.jit(jax.grad(lambda x: predict(x)[-1].joints.sum()))(canvases)
    assert np.isfinite(grads).all()
    assert np.abs(grads).max() > 0


coordinates = st.floats(-50, 150, width=32)
sides = st.floats(4, 300, width=32)


@hypothesis.settings(deadline=None)  # The first call compiles.
@given(
    st.tuples(coordinates, coordinates, sides, sides),
    st.tuples(coordinates, coordinates),
    st.integers(8, 64),
)
def test_crop_codec_and_uncrop_are_the_identity(box, point, size):
    """A point's place in the crop, the codec's frame, and the image again."""
    points = jnp.array([[point]])  # [1, 1, 2]
    boxes = from_centre_and_size(jnp.array([[box[:2]]]), jnp.array([[box[2:]]]))  # [1, 1, 4]
    pixels = affine.apply(affine.box_to_pixels(boxes[0], size), points.swapaxes(0, 1))[0, 0]
    framed = to_frame(points, boxes)
    # The crop's outer edges, -0.5 and size - 0.5, are the frame's -0.5 and 0.5.
    tolerance = 1e-5 * (1 + max(map(abs, (*box, *point)))) / min(box[2:])
    np.testing.assert_allclose((pixels + 0.5) / size - 0.5, framed[0, 0], atol=tolerance)
    np.testing.assert_allclose(from_frame(framed, boxes), points, atol=2e-4)
