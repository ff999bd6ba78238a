"""The segmenter and its loss: values, places, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy.special import expit

from anomaly_jax.segmenter import Segmenter, SegmenterConfig, focal
from engine_jax.errors import UserError

SMALL = SegmenterConfig(widths=(16, 16), blocks=(1, 0), up_blocks=1)


def batch(n=4, size=16, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(size=(n, size, size, 3)), jnp.float32)


def logits_of(model, images, reconstructions):
    """In one compilation, which is quicker than one for each operation."""
    graphdef, state = nnx.split(model)
    run = jax.jit(lambda state, *pair: nnx.merge(graphdef, state, copy=True)(*pair))
    return np.asarray(run(state, images, reconstructions))


def test_at_first_every_pixel_has_the_prior_s_probability():
    model = Segmenter(SMALL, rngs=nnx.Rngs(0))
    logits = logits_of(model, batch(), batch(seed=1))
    assert (logits.shape, logits.dtype) == ((4, 16, 16), jnp.float32)
    np.testing.assert_allclose(expit(logits), 0.01, rtol=1e-5)


def test_the_head_s_channels_are_the_pixels_of_a_cell_row_by_row():
    model = Segmenter(SMALL, rngs=nnx.Rngs(0))
    model.head.bias[...] = jnp.arange(16.0)  # pyright: ignore[reportOptionalSubscript]
    cell = np.arange(16.0).reshape(4, 4)
    np.testing.assert_array_equal(
        logits_of(model, batch(1), batch(1)), np.tile(cell, (4, 4))[np.newaxis]
    )


def test_it_learns_to_mark_the_very_pixels_that_differ():
    images = np.array(batch(8))
    masks = np.random.default_rng(1).uniform(size=(8, 16, 16)) < 0.2
    reconstructions = np.where(masks[..., None], 1 - np.round(images), images)
    images, reconstructions, masks = (
        jnp.asarray(x, jnp.float32) for x in (images, reconstructions, masks)
    )
    model = Segmenter(SMALL, rngs=nnx.Rngs(0))
    model.train()
    graphdef, params, state = nnx.split(model, nnx.Param, ...)
    optimizer = optax.adam(1e-2)

    def loss(params, state):
        model = nnx.merge(graphdef, params, state, copy=True)
        logits = model(images, reconstructions)
        return focal(logits, masks).mean(), (nnx.state(model, nnx.Not(nnx.Param)), logits)

    @jax.jit
    def step(params, state, optimizer_state):
        gradients, (state, logits) = jax.grad(loss, has_aux=True)(params, state)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state)
        return optax.apply_updates(params, updates), state, optimizer_state, logits

    optimizer_state, logits = optimizer.init(params), masks
    for _ in range(150):
        params, state, optimizer_state, logits = step(params, state, optimizer_state)
    assert ((np.asarray(logits) > 0) == (np.asarray(masks) > 0)).mean() > 0.97


def test_in_evaluation_an_image_does_not_depend_on_the_others():
    model = Segmenter(SMALL, rngs=nnx.Rngs(0))
    model.head.kernel[...] = jax.random.normal(jax.random.key(0), model.head.kernel.shape)
    model.eval()
    together = logits_of(model, batch(), batch(seed=1))
    alone = logits_of(model, batch()[:1], batch(seed=1)[:1])
    np.testing.assert_allclose(alone[0], together[0], atol=1e-4)
    assert together.std() > 0.1


def test_it_sees_image_and_reconstruction_each_for_itself():
    model = Segmenter(SMALL, rngs=nnx.Rngs(0))
    model.head.kernel[...] = jax.random.normal(jax.random.key(0), model.head.kernel.shape)
    model.eval()
    one, other = batch(1), batch(1, seed=1)
    pairs = (jnp.concatenate(images) for images in ((one, other, one), (other, one, one)))
    first, swapped, same = logits_of(model, *pairs)
    assert np.abs(first - swapped).max() > 0.1
    assert np.abs(first - same).max() > 0.1


@pytest.mark.usefixtures("unchecked_shapes")
def test_shapes_that_do_not_fit_are_refused():
    model = Segmenter(SMALL, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="must be of one shape"):
        model(batch(), batch(2))
    with pytest.raises(ValueError, match="multiples of 8 px"):
        model(batch(size=12), batch(size=12))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"widths": ()}, "widths is"),
        ({"widths": (8, 8), "blocks": (1,)}, "blocks is"),
        ({"widths": (8, 0), "blocks": (1, 1)}, "widths is .*: use 1 or more"),
        ({"widths": (8, 8), "blocks": (1, -1)}, "blocks is .*: use 0 or more"),
    ],
)
def test_configs_are_checked(fields, message):
    with pytest.raises(UserError, match=message):
        SegmenterConfig(**fields)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_is_its_equation(gamma):
    rng = np.random.default_rng(0)
    logits, masks = rng.normal(scale=3, size=(3, 5, 7)), rng.uniform(size=(3, 5, 7)) < 0.3
    p = np.where(masks, expit(logits), 1 - expit(logits))
    expected = (-((1 - p) ** gamma) * np.log(p)).mean((1, 2))
    found = focal(jnp.asarray(logits, jnp.float32), jnp.asarray(masks, jnp.float32), gamma=gamma)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_with_an_area_a_small_fault_counts_as_a_large_one():
    masks = np.zeros((4, 50, 50), np.float32)
    masks[0, :25] = 1  # half of the image
    masks[1, :5, :5] = 1  # a hundredth
    masks[2, 0, 0] = 1  # 1 / 2500, which counts as 0.4 of a thousandth does
    # Logits of 0 everywhere: each pixel's loss is log(2) / 4, each faulty one's weighed.
    found = focal(jnp.zeros((4, 50, 50)), jnp.asarray(masks), area=0.05)
    share = np.array([0.5 + 0.05, 0.99 + 0.05, 1 - 1 / 2500 + 0.4 * 0.05, 1])
    np.testing.assert_allclose(found, share * np.log(2) / 4, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_stays_finite_where_the_network_is_sure(gamma):
    logits = jnp.array([[[200.0, -200.0, 200.0, -200.0, 0.0]]])
    masks = jnp.array([[[1.0, 0.0, 0.0, 1.0, 1.0]]])
    value, gradient = jax.value_and_grad(lambda x: focal(x, masks, gamma=gamma).sum())(logits)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    # Wrong and sure: the slope of -log p alone.
    np.testing.assert_allclose(gradient[0, 0, 2:4], [0.2, -0.2], rtol=1e-5)
    np.testing.assert_allclose(gradient[0, 0, :2], 0, atol=1e-6)


@pytest.mark.usefixtures("unchecked_shapes")
def test_focal_refuses_other_shapes():
    with pytest.raises(ValueError, match="one shape"):
        focal(jnp.zeros((2, 4, 4)), jnp.zeros((2, 4, 5)))
