"""Autoencoders: published layers, a direct reference, shapes, training, errors."""

from dataclasses import asdict

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from anomaly_jax.autoencoder import Autoencoder, AutoencoderConfig
from anomaly_jax.config import AnomalyConfig
from configs.anomaly import get_config
from engine_jax.config import from_mapping
from engine_jax.errors import UserError

TINY = {
    "input_size": 32,
    "layers": ((4, 2, 8), (3, 1, 6), (4, 2, 12)),
    "bottleneck": 10,
    "dtype": "float32",
}


def _tiny(**changes):
    return Autoencoder(AutoencoderConfig(**(TINY | changes)), rngs=nnx.Rngs(0))


def _shapes(config):
    return nnx.eval_shape(lambda: Autoencoder(config, rngs=nnx.Rngs(0)))


@nnx.jit
def _run(module, x):
    return module(x)


@nnx.jit
def _code(model, images):
    return model.encode(images)


@nnx.jit
def _decode(model, codes):
    return model.decode(codes)


def _sizes(layers):
    return [sum(x.size for x in jax.tree.leaves(nnx.state(m, nnx.Param))) for m in layers]


def _images(n=4, size=32, seed=0):
    return np.random.default_rng(seed).uniform(size=(n, size, size, 3)).astype(np.float32)


def _down(layer, x):
    """A strided convolution, pixel by pixel."""
    kernel, s = np.asarray(layer.kernel[...]), layer.strides
    k = len(kernel)
    before = (k - s) // 2
    x = np.pad(x, ((0, 0), (before, k - s - before), (before, k - s - before), (0, 0)))
    out = np.zeros((len(x), (x.shape[1] - k) // s + 1, (x.shape[2] - k) // s + 1, kernel.shape[3]))
    for i, j in np.ndindex(out.shape[1:3]):
        out[:, i, j] = np.tensordot(x[:, s * i : s * i + k, s * j : s * j + k], kernel, 3)
    return out + np.asarray(layer.bias[...])


def _up(layer, x):
    """A transposed convolution: every cell adds its kernel, which Flax stores turned by half a turn."""
    kernel, s = np.asarray(layer.kernel[...])[::-1, ::-1], layer.strides
    k = len(kernel)
    b, h, w, _ = x.shape
    out = np.zeros((b, s * (h - 1) + k, s * (w - 1) + k, kernel.shape[3]))
    for i, j in np.ndindex(h, w):
        added = np.tensordot(x[:, i, j], kernel, (1, 2))
        out[:, s * i : s * i + k, s * j : s * j + k] += added
    before = (k - s) // 2
    return out[:, before : before + s * h, before : before + s * w] + np.asarray(layer.bias[...])


def test_parameters_of_every_published_layer():
    model = _shapes(AutoencoderConfig.published())
    encoder = [1_568, 16_416, 9_248, 32_832, 36_928, 131_200, 73_792, 18_464]
    decoder = [18_496, 73_856, 131_136, 36_928, 32_800, 9_248, 16_416, 1_539]
    assert _sizes(model.encoder) == encoder
    assert _sizes(model.decoder) == decoder
    # An 8 x 8 convolution on 8 x 8 cells, and its transpose with a bias for each cell.
    assert _sizes([model.to_code, model.from_code]) == [2_048 * 100 + 100, 101 * 2_048]


@pytest.mark.parametrize(
    ("config", "code"),
    [
        (AutoencoderConfig(), 100),
        (AutoencoderConfig(norm="batch"), 100),
        (AutoencoderConfig.published(256, 500), 500),
    ],
)
def test_reconstructions_have_the_shape_of_the_images(config, code):
    model, size = _shapes(config), config.input_size
    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    assert nnx.eval_shape(lambda m, x: m.encode(x), model, images).shape == (2, code)
    out = nnx.eval_shape(lambda m, x: m(x), model, images)
    assert (out.shape, out.dtype) == ((2, size, size, 3), jnp.float32)
    assert config.code_map == (8, 8, 32)


@pytest.mark.parametrize(
    ("preset", "config"),
    [
        ("base", AutoencoderConfig()),
        ("batchnorm", AutoencoderConfig(norm="batch")),
        ("ssim", AutoencoderConfig.published(256, 500)),
    ],
)
def test_presets_have_the_published_networks_layers(preset, config):
    assert from_mapping(AnomalyConfig, get_config(preset).to_dict()).model == config


def test_the_network_is_its_layers_with_linear_code_and_sigmoid_output():
    model, images = _tiny(slope=0.1), _images(2)

    def leaky(x):
        return np.where(x > 0, x, 0.1 * x)

    x = images.astype(np.float64)
    for down in model.encoder:
        x = leaky(_down(down, x))
    to_code, from_code = model.to_code, model.from_code
    code = x.reshape(2, -1) @ np.asarray(to_code.kernel[...]) + np.asarray(to_code.bias[...])
    np.testing.assert_allclose(_code(model, images), code, rtol=1e-4, atol=1e-5)
    assert (code < 0).any()
    x = code @ np.asarray(from_code.kernel[...]) + np.asarray(from_code.bias[...])
    x = x.reshape(2, 8, 8, 12)
    for up in model.decoder:
        x = _up(up, leaky(x))
    np.testing.assert_allclose(_run(model, images), 1 / (1 + np.exp(-x)), atol=1e-5)


def test_output_sigmoid_stays_in_range_and_linear_does_not():
    codes = jnp.full((1, 10), 1e3)
    sigmoid, linear = _decode(_tiny(), codes), _decode(_tiny(output="linear"), codes)
    assert float(sigmoid.min()) >= 0
    assert float(sigmoid.max()) <= 1
    assert float(jnp.abs(linear).max()) > 1
    np.testing.assert_allclose(nnx.sigmoid(linear), sigmoid, atol=1e-6)


def test_codes_and_pixels_start_at_the_scale_of_the_input():
    model = _tiny(layers=((4, 2, 16),) * 4, output="linear", bottleneck=64)
    codes = _code(model, np.random.default_rng(0).normal(size=(8, 32, 32, 3)))
    assert 0.5 < float(codes.std()) < 2
    pixels = _decode(model, np.random.default_rng(1).normal(size=(8, 64)))
    assert 0.5 < float(pixels.std()) < 2


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_it_learns_and_every_parameter_takes_part(norm):
    model, images = _tiny(norm=norm), jnp.asarray(_images(4)[:, ::8, ::8].repeat(8, 1).repeat(8, 2))
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(params, rest, opt_state):
        def loss_of(params):
            model = nnx.merge(graphdef, params, rest, copy=True)
            loss = jnp.square(model(images) - images).mean()
            return loss, nnx.split(model, nnx.Param, ...)[2]

        (loss, rest), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state)
        return optax.apply_updates(params, updates), rest, opt_state, loss, grads

    opt_state, losses = optimizer.init(params), []
    for _ in range(60):
        params, rest, opt_state, loss, grads = step(params, rest, opt_state)
        losses.append(float(loss))
        assert all(jnp.abs(g).max() > 0 for g in jax.tree.leaves(grads))
    assert losses[-1] < losses[0] / 2


def test_batch_norm_normalises_every_hidden_layer_and_has_two_modes():
    model, images = _tiny(norm="batch"), _images(8)
    activations = [*model.encoder_activations, *model.decoder_activations]
    assert len(activations) == 6
    assert all(len(a.norms) == 1 for a in activations)
    # A bias before the norm would have no effect.
    assert [down.bias for down in model.encoder] == [None] * 3
    assert [up.bias is None for up in model.decoder] == [True, True, False]
    training = nnx.view(model, use_running_average=False)
    evaluation = nnx.view(model, use_running_average=True)
    before = _run(evaluation, images)
    _run(training, images)
    after = _run(evaluation, images)
    assert not np.allclose(before, after)
    # In evaluation an image's reconstruction doesn't depend on its batch.
    alone = _run(evaluation, np.repeat(images[2:3], 8, 0))
    np.testing.assert_allclose(alone[0], after[2], atol=1e-6)


def test_bfloat16_is_for_activations_only():
    model = _tiny(dtype="bfloat16")
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))}
    assert dtypes == {jnp.dtype("float32")}
    images = _images(2)
    low, exact = _run(model, images), _run(_tiny(), images)
    assert _code(model, images).dtype == low.dtype == jnp.float32
    error = np.abs(low - exact).max()
    assert 0 < error < 0.05


def test_on_cpu_no_convolution_runs_over_a_spread_out_input():
    graphdef, params = nnx.split(_shapes(AutoencoderConfig()))
    images = jax.ShapeDtypeStruct((2, 128, 128, 3), jnp.float32)

    @jax.jit
    @jax.grad
    def gradient(params, images):
        return jnp.sum(nnx.merge(graphdef, params)(images))

    text = gradient.trace(params, images).lower(lowering_platforms=("cpu",)).as_text()
    assert text.count("stablehlo.convolution") >= 3 * 16 - 1
    assert "lhs_dilate = [2, 2]" not in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm": "layer"}, "AutoencoderConfig.norm is 'layer': use 'none', 'batch'"),
        ({"output": "relu"}, "AutoencoderConfig.output is 'relu'"),
        ({"dtype": "float64"}, "AutoencoderConfig.dtype is 'float64'"),
        ({"layers": ()}, r"AutoencoderConfig.layers is \(\): use \(kernel, stride, channels\)"),
        ({"layers": ((1, 2, 8),)}, r"layers is \(\(1, 2, 8\),\)"),
        ({"layers": ((4, 2),)}, r"layers is \(\(4, 2\),\)"),
        ({"layers": ((4, 2, 0),)}, r"layers is \(\(4, 2, 0\),\)"),
        ({"input_size": 30}, "input_size is 30: use a multiple of 4"),
        ({"input_size": 0}, "input_size is 0"),
        ({"bottleneck": 0}, "bottleneck is 0: use 1 or more"),
        ({"slope": 1.0}, r"slope is 1.0: use a number in \[0, 1\)"),
    ],
)
def test_a_config_that_cannot_be_built_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        AutoencoderConfig(**(TINY | changes))


def test_a_config_comes_back_from_a_mapping():
    config = AutoencoderConfig.published(256, 500)
    assert from_mapping(AutoencoderConfig, asdict(config)) == config


def test_the_published_layers_take_two_sizes():
    with pytest.raises(UserError, match="input_size is 64: the published layers take 128 or 256"):
        AutoencoderConfig.published(64)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("shape", [(1, 64, 64, 3), (1, 32, 32, 1), (32, 32, 3), (1, 32, 16, 3)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(UserError, match=r"takes images \[b, 32, 32, 3\], it got an array of shape"):
        _tiny()(jnp.zeros(shape))
