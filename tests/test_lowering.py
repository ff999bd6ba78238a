"""Training steps and predictions of every task can be lowered for GPU and TPU, with coordinates in full float32."""

import re
from functools import partial
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax import export

import anomaly_jax.predictor
import anomaly_jax.train_step
import classify_jax.predictor
import classify_jax.train_step
import deeppose_jax.predictor
import deeppose_jax.train_step
from anomaly_jax.config import AnomalyConfig
from anomaly_jax.detector import Detector
from anomaly_jax.faults import moved
from anomaly_jax.folds import Batch as AnomalyBatch
from classify_jax.config import ClassificationConfig
from classify_jax.networks import build as build_classifier
from configs import anomaly, classify, pose
from deeppose_jax.augment import augmented_samples, refiner_samples
from deeppose_jax.boxes import whole_image
from deeppose_jax.cascade import StagePoses
from deeppose_jax.config import PoseConfig
from deeppose_jax.crops import crop_boxes
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.displacements import Displacements
from deeppose_jax.skeleton import LSP
from deeppose_jax.stages import stage_network
from engine_jax.config import from_mapping
from engine_jax.sharding import device_mesh
from engine_jax.state import create_state, graph_defs
from engine_jax.warp import warp

PLATFORMS = {
    "cuda": "gpu",
    "tpu": "tpu",
}  # JAX's names of a platform to lower for, and of a backend
N, K = 4, LSP.num_joints


@pytest.fixture(params=PLATFORMS)
def lowered(request):
    """Lowers a function for a platform, as on a machine that has it; gives the StableHLO."""

    def lower(function, *inputs):
        with mock.patch.object(jax, "default_backend", return_value=PLATFORMS[request.param]):
            exported = export.export(jax.jit(function), platforms=[request.param])(*inputs)
        assert exported.platforms == (request.param,)
        return exported.mlir_module()

    return lower


def state_of(build, stack=None):
    create = partial(create_state, build, optax.adam(1e-3), sharding=None, stack=stack)
    return jax.eval_shape(lambda: create(jax.random.key(0)))


def steps_of(build, settings, **options):
    return {
        "graphdef": graph_defs(build).train,
        "optimizer": optax.adam(1e-3),
        "settings": settings,
        "key": jax.random.key(1),
        **options,
    }


def pose_settings():
    config = pose.get_config("small")
    config.data.canvas, config.model.input_size, config.stages = 48, 32, 2
    config.refiner.model.input_size = 32
    config.augment.rotation, config.augment.scale = 20.0, 0.2
    return from_mapping(PoseConfig, config.to_dict())


def poses(side=48):
    return PoseSet(
        canvases=np.zeros((N, side, side, 3), np.uint8),
        boxes=np.tile(np.float32(whole_image(side, side)), (N, 1)),
        joints=np.full((N, K, 2), 20, np.float32),
        labelled=np.ones((N, K), bool),
        to_image=np.tile(np.eye(2, 3, dtype=np.float32), (N, 1, 1)),
    )


def displacements():
    return Displacements(
        np.zeros((K, 2), np.float32),
        np.tile(0.01 * np.eye(2, dtype=np.float32), (K, 1, 1)),
        np.float32(0),
        np.float32(0.1),
    )


@pytest.mark.parametrize("number", [1, 2])
def test_pose(number, lowered):
    settings = pose_settings()
    stage = settings.stage(number)
    build = partial(stage_network, stage, K)
    options = steps_of(build, settings, skeleton=LSP)
    step = deeppose_jax.train_step.train_step
    if number == 2:
        step = deeppose_jax.train_step.shared_refiner_step
        options["displacements"] = displacements()
    state = state_of(build)
    assert "stablehlo.convolution" in lowered(partial(step, **options), state, poses())
    predict = partial(
        deeppose_jax.predictor.eval_step,
        graphdef=graph_defs(build).evaluate,
        stage=stage,
        config=settings.cascade,
        skeleton=LSP,
        mesh=device_mesh(1, joint=1),
    )
    before = None
    if number == 2:
        joints, boxes = poses().joints, poses().boxes[:, None]
        before = StagePoses(joints, np.ones((N, K), np.float32), boxes)
    assert "stablehlo.convolution" in lowered(predict, state.variables, poses(), before)


def test_anomaly(lowered):
    config = anomaly.get_config("base")
    config.members = 2
    settings = from_mapping(AnomalyConfig, config.to_dict())
    build = partial(Detector, settings.detector)
    state, side = state_of(build, stack=2), settings.model.input_size
    images = np.zeros((N, side, side, 3), np.uint8)
    step = partial(anomaly_jax.train_step.train_step, **steps_of(build, settings))
    assert "stablehlo.convolution" in lowered(step, state, AnomalyBatch(images))
    detect = partial(
        anomaly_jax.predictor.detect_step,
        graphdef=graph_defs(build).evaluate,
        scoring=settings.scoring,
    )
    assert "stablehlo.convolution" in lowered(detect, state.variables, images)


def test_classify(lowered):
    settings = from_mapping(ClassificationConfig, classify.get_config().to_dict())
    build = partial(build_classifier, settings.model, 3)
    state, side = state_of(build), settings.data.size
    images, labels = np.zeros((N, side, side, 3), np.uint8), np.zeros(N, np.int32)
    weights = np.ones(3, np.float32)
    options = steps_of(build, settings, weights=weights, trained=nnx.Param)
    options["components"] = np.eye(3, dtype=np.float32)
    step = partial(classify_jax.train_step.train_step, **options)
    batch = classify_jax.train_step.Batch(images, labels)
    assert "stablehlo.convolution" in lowered(step, state, batch)
    predict = partial(
        classify_jax.predictor.predict_step,
        graphdef=graph_defs(build).evaluate,
        size=settings.model.input_size,
        weights=weights,
    )
    view = (jnp.int32(0), jnp.int32(0), jnp.bool_(False))
    assert "stablehlo.convolution" in lowered(predict, state.variables, images, labels, view)


def default_products(module):
    """The matrix products of a module whose inputs a TPU would round to bfloat16, and a GPU to TF32.

    Those of precision HIGH interpolate pixels by weights, whose coordinates are computed before.
    """
    products = re.findall(r"stablehlo\.dot(?:_general)?.*", module)
    return [line for line in products if "HIGH" not in line]


@pytest.mark.parametrize("rotation", [0.0, 20.0])
def test_coordinates_and_crops_are_computed_in_full_float32(rotation, lowered):
    """Boxes, maps, targets and the crops themselves, of both kinds of training samples and of predictions."""
    augment = pose_settings().augment
    augment = type(augment)(**{**vars(augment), "rotation": rotation})
    key = jax.random.key(0)
    functions = (
        lambda batch: augmented_samples(key, batch, 32, augment, LSP, "mean"),
        lambda batch: refiner_samples(key, batch, 32, augment, LSP, displacements(), sigma=1.0),
        lambda batch: crop_boxes(batch.canvases, batch.boxes[:, None], 32),
    )
    for function in functions:
        assert default_products(lowered(function, poses())) == []


def test_rotated_images_are_products_on_a_tpu(lowered, request):
    """A TPU gathers single pixels slowly; other devices don't."""
    images, maps = np.zeros((2, 20, 20, 3), np.float32), np.ones((2, 2, 3), np.float32)
    boxes = np.ones((2, 1, 4), np.float32)
    on_tpu = request.node.callspec.params["lowered"] == "tpu"
    functions = (
        lambda images, maps: warp(images, maps, 20, diagonal=1.5),
        lambda images, maps: crop_boxes(images, boxes, 20, maps=maps),
        lambda images, maps: moved(images, 1, True, maps[0, 0, 0], maps[0, 0, :2]),
    )
    for function in functions:
        assert ("stablehlo.dot_general" in lowered(function, images, maps)) == on_tpu


def test_a_product_of_default_precision_is_found(lowered):
    module = lowered(lambda x: x @ x, np.eye(3, dtype=np.float32))
    assert len(default_products(module)) == 1
