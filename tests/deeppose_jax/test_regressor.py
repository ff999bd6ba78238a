from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from deeppose_jax import LSP, Regressor
from tests.deeppose_jax.settings import settings, tiny

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
