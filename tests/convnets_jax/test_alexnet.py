"""AlexNet: parameter counts, shapes, order of layers, training and evaluation, errors."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from convnets_jax.alexnet import CONFIGS, AlexNet, AlexNetConfig, AlexNetFeatures
from engine_jax.errors import UserError
from engine_jax.state import abstract_model


def _shapes(config):
    return abstract_model(partial(AlexNet, config))


def _count(module, *kinds):
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Any(*kinds))))


def _tiny(**changes):
    config = {"input_size": 64, "widths": (4, 8, 8, 8, 6), "first_kernel": 7, "first_stride": 2}
    return AlexNetConfig(**(config | {"hidden": (16, 12), "num_classes": 5} | changes))


def _created(kind, config):
    return nnx.jit(lambda: kind(config, rngs=nnx.Rngs(0)))()


def _normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@nnx.jit
def _run(module, x):
    return module(x)


def test_parameters_of_every_layer_of_alexnet():
    model = _shapes(CONFIGS["alexnet_lrn"])
    found = [_count(m, nnx.Param) for m in (*model.features.convs, *model.hidden, model.logits)]
    assert found == [
        34_944,
        614_656,
        885_120,
        1_327_488,
        884_992,
        37_752_832,
        16_781_312,
        4_097_000,
    ]
    assert _count(model, nnx.Param) == 62_378_344


def test_parameters_of_alexnet_with_batch_norm():
    model = _shapes(CONFIGS["alexnet_bn"])
    assert _count(model, nnx.Param, nnx.BatchStat) == 62_416_616


def test_parameters_of_deeppose():
    # 3,747,200 in the convolutions, 37,752,832 + 16,781,312 in the F layers, 28 (4096 + 1) in the last.
    model = _shapes(AlexNetConfig.deeppose(num_joints=14))
    assert _count(model, nnx.Param) == 58_396_060
    assert model.dropout.rate == 0.6


def test_parameters_of_torchvisions_form_and_of_two_towers():
    assert _count(_shapes(CONFIGS["alexnet"]), nnx.Param) == 61_100_840
    # Half the weights of convolutions 2, 4 and 5: 62,378,344 - 307,200 - 663,552 - 442,368.
    assert _count(_shapes(AlexNetConfig.two_towers()), nnx.Param) == 60_965_224


@pytest.mark.parametrize(
    ("config", "size", "expected"),
    [
        (CONFIGS["alexnet_lrn"], 227, (6, 6, 256)),
        (AlexNetConfig.deeppose(), 220, (6, 6, 256)),
        (CONFIGS["alexnet"], (224, 63), (6, 1, 256)),
        (_tiny(first_padding="SAME"), (112, 144), (6, 8, 6)),
        (_tiny(first_padding="SAME"), 29, (1, 1, 6)),
        (_tiny(first_kernel=11, first_stride=4), 67, (1, 1, 6)),
        (_tiny(first_kernel=5, first_stride=3), (90, 91), (2, 2, 6)),
    ],
)
def test_output_shape_is_the_shape_of_the_features(config, size, expected):
    module = abstract_model(partial(AlexNetFeatures, config))
    assert module.output_shape(size) == expected
    height, width = (size, size) if isinstance(size, int) else size
    images = jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32)
    assert nnx.eval_shape(lambda m, x: m(x), module, images).shape == (2, *expected)
    assert module.out_channels == expected[-1]


# With 11x11 filters at stride 4, one more column leaves 127 px' features as they are; two more would add
# a feature to 130 px'.
@pytest.mark.parametrize(("padding", "towers"), [("SAME", 1), ("VALID", 1), (2, 2)])
def test_features_are_conv_relu_lrn_pool(padding, towers):
    config = _tiny(first_stride=4, first_padding=padding, first_kernel=11, init="he", towers=towers)
    module = _created(AlexNetFeatures, config)

    @nnx.jit
    def by_hand(module, x):
        for i, conv in enumerate(module.convs):
            stride = 4 if i == 0 else 1
            first = [(padding, padding)] * 2 if padding == 2 else padding
            # The first tower's maps come first, in what a convolution reads and in what it makes.
            halves = 2 if towers == 2 and i in (1, 3, 4) else 1
            kernels = jnp.split(conv.kernel[...], halves, -1)
            made = [
                jax.lax.conv_general_dilated(
                    part,
                    kernel,
                    (stride, stride),
                    first if i == 0 else "SAME",
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                )
                for part, kernel in zip(jnp.split(x, halves, -1), kernels, strict=True)
            ]
            x = jnp.maximum(jnp.concatenate(made, -1), 0)
            if i < 2:
                neighbours = jnp.pad(x**2, ((0, 0),) * 3 + ((2, 2),))
                total = sum(neighbours[..., j : j + x.shape[-1]] for j in range(5))
                x = x / (2 + 1e-4 * total) ** 0.75
            if i in (0, 1, 4):
                x = nnx.max_pool(x, (3, 3), (2, 2))
        return x

    images = _normal(2, 127, 130, 3) * 30
    expected = np.asarray(by_hand(module, images))
    found = _run(module, images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * expected.max())


def test_train_and_eval_switch_dropout_and_batch_norm():
    model = _created(AlexNet, _tiny(norm="batch", init="he"))
    images = _normal(4, 64, 64, 3)
    forward = nnx.jit(lambda model, images, seed: model(images, nnx.Rngs(jax.random.key(seed))))
    one, other = 2, 3
    model.eval()
    before = forward(model, images, one)
    assert np.array_equal(before, forward(model, images, other))

    model.train()
    # After one step of momentum 0.9 the running average is a tenth of the batch's mean.
    first = _run(model.features.convs[0], images)
    assert not np.array_equal(forward(model, images, one), forward(model, images, other))
    expected = (0.1 + 0.9 * 0.1) * np.mean(first, (0, 1, 2))
    np.testing.assert_allclose(model.features.norms[0].mean[...], expected, rtol=1e-3, atol=1e-5)
    assert len(jax.tree.leaves(nnx.state(model, nnx.BatchStat))) == 2 * 7

    evaluated = nnx.view(model, deterministic=True, use_running_average=True)
    after = forward(evaluated, images, one)
    assert not np.allclose(after, before)
    # A running average does not depend on the rest of the batch.
    np.testing.assert_allclose(forward(evaluated, images[:2], one), after[:2], rtol=1e-4, atol=1e-5)


def test_a_functional_training_step_lowers_the_loss():
    model = _created(AlexNet, _tiny(norm="batch", init="he", dropout=0.0))
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    images, targets = _normal(8, 64, 64, 3), _normal(8, 5)

    @jax.jit
    def step(params, rest):
        def loss(params):
            model = nnx.merge(graphdef, params, rest, copy=True)
            error = jnp.mean((model(images) - targets) ** 2)
            return error, nnx.state(model, nnx.Not(nnx.Param))

        (error, rest), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - 0.01 * g, params, gradient), rest, error

    errors = []
    for _ in range(20):
        params, rest, error = step(params, rest)
        errors.append(float(error))
    assert errors[-1] < 0.5 * errors[0]


@pytest.mark.parametrize("norm", ["lrn", "batch", "none"])
def test_bfloat16_activations_keep_float32_parameters_and_logits(norm):
    config = _tiny(norm=norm, init="he", dropout=0.0)

    @nnx.jit
    def both(images):
        half = AlexNet(config, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
        full = AlexNet(config, rngs=nnx.Rngs(0))
        half.eval()
        full.eval()
        leaves = jax.tree.leaves(nnx.state(half, nnx.Param))
        assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}
        return half.features(images), half(images), full(images)

    features, logits, expected = both(_normal(2, 64, 64, 3))
    assert (features.dtype, logits.dtype) == (jnp.bfloat16, jnp.float32)
    np.testing.assert_allclose(logits, expected, atol=0.05 * np.abs(expected).max())


def test_alexnets_initial_values():
    config = _tiny(widths=(32, 32, 32, 32, 32), init="alexnet")
    model = _created(AlexNet, config)
    every_layer = (*model.features.convs, *model.hidden, model.logits)
    for layer, expected in zip(every_layer, (0, 1, 0, 1, 1, 1, 1, 0), strict=True):
        np.testing.assert_array_equal(layer.bias, expected)
    for layer in model.features.convs:
        assert np.std(layer.kernel) == pytest.approx(0.01, rel=0.05)


def test_he_keeps_the_scale_of_the_activations():
    config = _tiny(widths=(64, 64, 64, 64, 64), norm="none", init="he")
    features = np.asarray(_run(_created(AlexNetFeatures, config), _normal(2, 64, 64, 3)))
    assert 0.3 < np.sqrt(np.mean(features**2)) < 10


def test_an_image_that_is_too_small_is_one_clear_line():
    module = abstract_model(partial(AlexNetFeatures, _tiny()))
    # 7 px at stride 2 before three pools of 3 at stride 2: 35 px leave one pixel of features.
    assert module.output_shape(35) == (1, 1, 6)
    with pytest.raises(UserError, match=r"^an image side of 34 px .* at least 35 px$"):
        module(jnp.zeros((1, 64, 34, 3)))


@pytest.mark.parametrize("shape", [(64, 64, 3), (1, 64, 64, 1)])
def test_an_array_of_another_shape_is_refused(shape):
    model = abstract_model(partial(AlexNet, _tiny()))
    with pytest.raises(UserError, match=r"\[b, h, w, 3\], it got an array of shape"):
        model(jnp.zeros(shape))


def test_other_sizes_are_averaged_to_the_cells_of_the_configs():
    config = _tiny(
        input_size=31,
        first_stride=1,
        first_padding="SAME",
        norm="none",
        hidden=(16,),
        init="he",
        dropout=0.0,
    )
    model = _created(AlexNet, config)
    assert model.features.output_shape(31) == (3, 3, 6)

    @nnx.jit
    def by_hand(model, images):
        features = model.features(images)  # [2, 6, 3, 6]
        row = features.reshape(2, 3, 2, 3, 6).mean(2).reshape(2, 54)
        return model.logits(jnp.maximum(model.hidden[0](row), 0))

    images = _normal(2, 55, 31, 3)
    expected = by_hand(model, images)
    np.testing.assert_allclose(_run(model, images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "layer"}, "norm is 'layer': use 'lrn', 'batch', 'none'"),
        ({"first_padding": "same"}, "first_padding is 'same'"),
        ({"first_padding": -1}, "first_padding is -1: use 'SAME', 'VALID' or pixels"),
        ({"towers": 3}, "towers is 3"),
        (
            {"towers": 2, "widths": (4, 8, 8, 8, 7)},
            r"towers is 2: use 1, or 2 if .* 8, 7\), are even",
        ),
        ({"init": "xavier"}, "init is 'xavier'"),
        ({"widths": (96, 256)}, "widths is"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"hidden": (0,)}, r"hidden is \(0,\): use 1 or more"),
    ],
)
def test_a_wrong_config_names_its_field(change, message):
    with pytest.raises(UserError, match=message):
        _tiny(**change)
