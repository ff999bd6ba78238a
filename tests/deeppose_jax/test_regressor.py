import re
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors.numpy
from flax import nnx

from deeppose_jax import LSP, Regressor
from deeppose_jax.initial_weights import published_weights
from deeppose_jax.model_config import ModelConfig
from deeppose_jax.stages import stage_network
from deeppose_jax.training import check_networks
from engine_jax import sharding
from engine_jax.errors import UserError
from engine_jax.state import create_state, variables_by_name
from tests.convnets_jax.test_torchvision import torch_layout, torchvision_tensors
from tests.deeppose_jax.settings import TORSO, settings, tiny

DEEPPOSE = replace(settings("report").model, dtype="float32")
SMALL = tiny(model__dropout=0.5, model__alexnet__widths=(8, 8, 8, 8, 8), model__hidden=(16,)).model


def test_deepposes_network_has_the_papers_layers():
    model = nnx.eval_shape(lambda: Regressor(DEEPPOSE, LSP.num_joints, rngs=nnx.Rngs(0)))
    count = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
    convolutions = 34_944 + 614_656 + 885_120 + 1_327_488 + 884_992
    layers = 6 * 6 * 256 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 28 + 28
    assert count == convolutions + layers
    assert round(count / 1e6, 1) == 58.4


def test_a_regressor_gives_every_joint_in_float32():
    model = Regressor(SMALL, LSP.num_joints, rngs=nnx.Rngs(0))
    model.eval()
    images = jnp.asarray(np.random.default_rng(0).normal(size=(3, 32, 32, 3)), jnp.float32)
    joints = model(images).joints
    assert joints.shape == (3, 14, 2)
    assert joints.dtype == jnp.float32
    np.testing.assert_allclose(model(images[1:2]).joints[0], joints[1], atol=1e-5)


def test_dropout_acts_in_training_only():
    model = Regressor(SMALL, LSP.num_joints, rngs=nnx.Rngs(0))
    images = jnp.ones((2, 32, 32, 3))
    model.train()
    a, b = (model(images, nnx.Rngs(dropout=seed)).joints for seed in (0, 1))
    assert not np.allclose(a, b)
    model.eval()
    np.testing.assert_array_equal(model(images).joints, model(images).joints)


@pytest.mark.parametrize(
    ("dtype", "expected"), [("float32", jnp.float32), ("bfloat16", jnp.bfloat16)]
)
def test_activations_have_the_asked_type_and_parameters_float32(dtype, expected):
    model = Regressor(replace(SMALL, dtype=dtype), LSP.num_joints, rngs=nnx.Rngs(0))
    assert model.backbone(jnp.ones((1, 32, 32, 3))).dtype == expected
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))} == {
        jnp.dtype("float32")
    }


@pytest.mark.parametrize(
    ("changes", "features"),
    [
        ({"backbone": "resnet18", "head": "integral", "top_down": 16}, (8, 8, 16)),
        ({"backbone": "resnet18", "head": "integral_rle"}, (2, 2, 512)),
        ({"backbone": "resnet18", "head": "rle", "pool": "average"}, (2, 2, 512)),
        ({"backbone": "mobilenet_v2_050", "head": "integral", "top_down": 16}, (8, 8, 16)),
        ({"backbone": "mobilenet_v3_small", "head": "integral", "top_down": 16}, (8, 8, 16)),
        ({"backbone": "mobilenet_v1_025", "head": "regression"}, (2, 2, 256)),
    ],
)
def test_backbones_of_the_zoo_bear_every_head(changes, features):
    config = replace(SMALL, input_size=64, hidden=(), **changes)
    model = nnx.eval_shape(lambda: Regressor(config, 3, rngs=nnx.Rngs(0)))
    model.eval()
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    backbone, estimate = nnx.eval_shape(lambda m, x: (m.backbone(x), m(x)), model, images)
    assert backbone.shape == (2, *features)
    assert estimate.joints.shape == (2, 3, 2)
    assert (estimate.scales is None) == (config.head == "regression")
    if not config.integral:
        inputs = features[2] if config.pool == "average" else np.prod(features)
        assert model.head.joints.kernel.shape == (inputs, 6)


def test_a_pooled_head_reads_the_mean_over_the_cells():
    model = Regressor(replace(SMALL, pool="average", hidden=()), 2, rngs=nnx.Rngs(0))
    model.eval()
    images = jnp.asarray(np.random.default_rng(0).normal(size=(3, 32, 32, 3)), jnp.float32)
    mean = np.asarray(model.backbone(images)).mean((1, 2))
    expected = mean @ np.asarray(model.head.joints.kernel) + np.asarray(model.head.joints.bias)
    np.testing.assert_allclose(model(images).joints.reshape(3, 4), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"backbone": "resnet19"},
            r"config\.model\.backbone: 'resnet19'; accepted: compact, .*vgg",
        ),
        ({"weights": "a.pth"}, r"config\.model\.weights: 'a\.pth' with backbone 'alexnet'"),
        ({"top_down": 8}, r"config\.model\.top_down: 8 with backbone 'alexnet'; accepted: 0, or"),
        ({"head": "integral", "pool": "average"}, r"config\.model\.pool: 'average' leaves head"),
    ],
)
def test_models_that_contradict_themselves_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        tiny(**{f"model__{name}": value for name, value in changes.items()})


def torchvision_name(name):
    """torchvision's name of a residual network's array."""
    *place, array = name.split(".")
    arrays = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
    module = re.sub(r"^(conv|norm)$", r"\g<1>1", ".".join(place))
    for ours, theirs in (
        (r"stages\.(\d)\.blocks", lambda stage: f"layer{int(stage[1]) + 1}"),
        (r"shortcut\.conv", "downsample.0"),
        (r"shortcut\.norm", "downsample.1"),
        (r"norm", "bn"),
    ):
        module = re.sub(ours, theirs, module)
    return f"{module}.{arrays.get(array, array)}"


@pytest.mark.parametrize(("form", "top_down"), [("shared", 4), ("per_joint", 0)])
def test_weights_of_a_file_are_put_into_every_backbone(form, top_down, tmp_path):
    path, tensors = tmp_path / "resnet18.safetensors", torchvision_tensors("resnet18", 1000)
    safetensors.numpy.save_file(tensors, path)
    names = {"backbone": "resnet18", "weights": str(path), "top_down": top_down}
    names |= {"dtype": "float32"}
    config = tiny(refiner__form=form, **{f"refiner__model__{name}": x for name, x in names.items()})
    build = partial(stage_network, config.stage(2), 2)
    placed = sharding.replicated(sharding.device_mesh(joint=1))
    state = create_state(build, optax.sgd(1e-3), jax.random.key(0), placed)
    before = state.variables.by_name()
    after = state.with_variables(published_weights(config.refiner.model)).variables.by_name()
    place = "backbone.bottom_up." if top_down else "backbone."
    backbone = {name: array for name, array in after.items() if name.startswith(place)}
    for name in before.keys() - backbone.keys():
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    used = {name for name in tensors if not re.match(r"fc\.|.*num_batches_tracked", name)}
    published = {name: torchvision_name(name.removeprefix(place)) for name in backbone}
    assert sorted(published.values()) == sorted(used)
    for i in range(2 if form == "per_joint" else 1):
        for name, array in backbone.items():
            taken = np.asarray(array)[i] if form == "per_joint" else array
            np.testing.assert_array_equal(
                torch_layout(taken), tensors[published[name]], err_msg=f"{name} of network {i}"
            )


def test_parts_that_a_file_of_weights_lacks_are_not_frozen(tmp_path):
    path = tmp_path / "resnet18.safetensors"
    safetensors.numpy.save_file(torchvision_tensors("resnet18", 1000), path)
    changes = {"model__backbone": "resnet18", "model__weights": str(path), "stages": 1}
    changes |= {"model__dtype": "float32", "train__batch_size": 4}
    check_networks(tiny(**changes, transfer__train=("head",)), TORSO)
    with pytest.raises(UserError, match=r"transfer\.train: .* would freeze head.* random weights"):
        check_networks(tiny(**changes, transfer__train=("backbone.stages.3",)), TORSO)


@pytest.mark.parametrize(("top_down", "place"), [(8, "backbone.bottom_up"), (0, "backbone")])
def test_a_published_mobilenet_v2_is_a_backbone(top_down, place, real_weights):
    path = real_weights("mobilenet_v2.safetensors")
    config = replace(
        SMALL, backbone="mobilenet_v2", weights=str(path), head="integral", top_down=top_down
    )
    found = published_weights(config)
    tensors = safetensors.numpy.load_file(path)
    kernel = found[f"{place}.last.conv.kernel"]
    np.testing.assert_array_equal(kernel[0, 0].T, tensors["features.18.0.weight"][..., 0, 0])
    model = nnx.eval_shape(lambda: Regressor(config, 3, rngs=nnx.Rngs(0)))
    backbone = {name for name in variables_by_name(model) if name.startswith(f"{place}.")}
    assert backbone == found.keys()
    assert all(isinstance(array, jax.Array) for array in found.values())


def test_torchvisions_alexnet_is_a_backbone(real_weights):
    path = real_weights("alexnet_features.safetensors")
    config = replace(ModelConfig.deeppose(), backbone="torchvision_alexnet", weights=str(path))
    config.check("config.model")
    found = published_weights(config)
    model = nnx.eval_shape(lambda: Regressor(config, 14, rngs=nnx.Rngs(0)))
    backbone = {
        name.removeprefix("backbone."): array.shape
        for name, array in variables_by_name(model).items()
        if name.startswith("backbone.")
    }
    assert {name: array.shape for name, array in found.items()} == {
        f"backbone.{name}": shape for name, shape in backbone.items()
    }
    tensors = safetensors.numpy.load_file(path)
    kernels = sorted((a for a in found.values() if a.ndim == 4), key=lambda a: a.shape)
    expected = sorted(
        (t for t in tensors.values() if t.ndim == 4), key=lambda t: t.transpose(2, 3, 1, 0).shape
    )
    for ours, theirs in zip(kernels, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs.transpose(2, 3, 1, 0))
