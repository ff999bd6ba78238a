"""VGG: order of layers in its three forms, pooling of other sizes, batch norm, dropout, errors."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from convnets_jax.vgg import CONFIGS, VGG, VGGConfig, VGGFeatures
from engine_jax.errors import UserError
from engine_jax.state import abstract_model


def _tiny(**changes):
    config = {"kernels": ((3,), (3, 1)), "widths": (6, 8), "input_size": 12, "hidden": (16,)}
    return VGGConfig(**(config | {"dropout": 0.0, "num_classes": 5} | changes))


def _normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


# A name's number is that of the layers with weights: the convolutions and three F.
@pytest.mark.parametrize(
    ("name", "convolutions", "ones", "norms"),
    [
        ("vgg11", 8, 0, 0),
        ("vgg11_lrn", 8, 0, 0),
        ("vgg11_bn", 8, 0, 8),
        ("vgg13", 10, 0, 0),
        ("vgg13_bn", 10, 0, 10),
        ("vgg16", 13, 0, 0),
        ("vgg16_bn", 13, 0, 13),
        ("vgg16_conv1", 13, 3, 0),
        ("vgg16_conv1_bn", 13, 3, 13),
        ("vgg19", 16, 0, 0),
        ("vgg19_bn", 16, 0, 16),
    ],
)
def test_layers_of_the_configurations(name, convolutions, ones, norms):
    config = CONFIGS[name]
    model = abstract_model(partial(VGGFeatures, config))
    convs = [conv for stage in model.stages for conv in stage.convs]
    assert len(convs) == convolutions
    assert [conv.kernel_size for conv in convs].count((1, 1)) == ones
    assert sum(len(stage.norms) for stage in model.stages) == norms
    assert model.output_shape(224) == (7, 7, 512)
    assert model.output_shape((32, 95)) == (1, 2, 512)


@pytest.mark.parametrize("norm", ["none", "lrn", "batch"])
def test_features_are_stages_and_pools(norm):
    def by_hand(model, x):
        for i, stage in enumerate(model.stages):
            for conv in stage.convs:
                x = jax.lax.conv_general_dilated(
                    x, conv.kernel[...], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
                )
                if norm == "batch":  # The running mean is 0 and the variance 1.
                    x = x / np.sqrt(1 + 1e-5)
                x = jnp.maximum(x, 0)
            if norm == "lrn" and i == 0:
                neighbours = jnp.pad(x**2, ((0, 0),) * 3 + ((2, 2),))
                total = sum(neighbours[..., j : j + x.shape[-1]] for j in range(5))
                x = x / (2 + 1e-4 * total) ** 0.75
            x = nnx.max_pool(x, (2, 2), (2, 2))
        return x

    @nnx.jit
    def both(images):
        model = VGGFeatures(_tiny(norm=norm), rngs=nnx.Rngs(0))
        model.eval()
        return model(images), by_hand(model, images)

    found, expected = map(np.asarray, both(_normal(2, 13, 12, 3) * 30))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * expected.max())


def test_other_sizes_are_averaged_to_the_cells_of_the_standard_one():
    @nnx.jit
    def both(images):
        model = VGG(_tiny(), rngs=nnx.Rngs(0))  # 12 px: 3 x 3 cells
        features = model.features(images)  # [2, 6, 6, 8]
        row = features.reshape(2, 3, 2, 3, 2, 8).mean((2, 4)).reshape(2, 72)
        return model(images), model.logits(jnp.maximum(model.hidden[0](row), 0))

    found, expected = both(_normal(2, 24, 24, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_train_and_eval_switch_batch_norm_and_dropout():
    model = nnx.jit(lambda: VGG(_tiny(norm="batch", dropout=0.5), rngs=nnx.Rngs(0)))()
    images = _normal(4, 12, 12, 3)
    forward = nnx.jit(lambda model, seed: model(images, nnx.Rngs(jax.random.key(seed))))
    model.eval()
    before = forward(model, 0)
    assert np.array_equal(before, forward(model, 1))
    model.train()
    first = nnx.jit(lambda conv: conv(images))(model.features.stages[0].convs[0])
    mean = np.mean(first, (0, 1, 2))
    assert not np.allclose(forward(model, 0), before)
    found = model.features.stages[0].norms[0].mean[...]
    np.testing.assert_allclose(found, 0.1 * mean, rtol=1e-3, atol=1e-6)
    # Batch norm in training gives the same for the same batch, so that the difference is dropout's.
    assert not np.array_equal(forward(model, 0), forward(model, 1))
    model.eval()
    assert not np.allclose(forward(model, 0), before)


def test_bfloat16_activations_keep_float32_parameters_and_logits():
    model = abstract_model(partial(VGG, _tiny(norm="batch"), dtype=jnp.bfloat16))
    params = jax.tree.leaves(nnx.state(model, nnx.Param))
    assert {leaf.dtype for leaf in params} == {jnp.dtype("float32")}
    model.eval()
    images = jax.ShapeDtypeStruct((1, 24, 20, 3), jnp.float32)
    features, logits = nnx.eval_shape(lambda m, x: (m.features(x), m(x)), model, images)
    assert (features.dtype, logits.dtype) == (jnp.bfloat16, jnp.float32)


def test_an_image_that_is_too_small_is_one_clear_line():
    model = abstract_model(partial(VGGFeatures, CONFIGS["vgg11"]))
    with pytest.raises(UserError, match=r"side of 31 px is too small for this VGG: .* 32 px$"):
        model(jnp.zeros((1, 31, 64, 3)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "layer"}, "norm is 'layer': use 'lrn', 'batch', 'none'"),
        ({"kernels": ((3,), (3, 5))}, "kernels is"),
        ({"kernels": ((3,), ())}, "kernels is"),
        ({"widths": (6, 8, 8)}, "widths is .* each of the 2 stages"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"hidden": (0,)}, r"hidden is \(0,\): use 1 or more"),
    ],
)
def test_a_wrong_config_names_its_field(change, message):
    with pytest.raises(UserError, match=message):
        _tiny(**change)
