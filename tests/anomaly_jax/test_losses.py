"""Losses against scikit-image, a direct reference, and values worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anomaly_jax import losses

KINDS = ["gaussian", "uniform"]
ssim = jax.jit(losses.ssim, static_argnames=("window", "kind"))
ssim_map = jax.jit(losses.ssim_map, static_argnames=("window", "kind"))


def pairs():
    """Images and reconstructions [5, 24, 30, 3]: noise, nearly equal ones, smooth ones, bright and flat ones."""
    rng = np.random.default_rng(0)
    noise = rng.uniform(size=(2, 24, 30, 3))
    near = noise[0] + 1e-3 * rng.normal(size=noise[0].shape)
    ramp = np.broadcast_to(np.linspace(0, 1, 30)[:, None], (24, 30, 3))
    flat = np.full((24, 30, 3), 0.98)
    x = np.stack([noise[0], noise[0], ramp, flat, flat])
    y = np.stack([noise[1], near, ramp[:, ::-1], flat, flat + 0.01 * rng.normal(size=flat.shape)])
    return x.astype(np.float32), y.astype(np.float32)


def direct(x, y, window, kind):
    """SSIM of the window around every pixel, as equation 13 says it, in float64."""
    radius = window // 2
    around = ((0, 0), (radius, radius), (radius, radius), (0, 0))
    x, y = (np.pad(a.astype(np.float64), around, mode="symmetric") for a in (x, y))
    ticks = np.arange(window) - window // 2
    weights = np.exp(-(ticks**2) / (2 * 1.5**2)) if kind == "gaussian" else np.ones(window)
    weights = np.outer(weights, weights)
    weights /= weights.sum()

    def windows(a):
        return np.lib.stride_tricks.sliding_window_view(a, (window, window), (1, 2))

    def mean(a):
        return (a * weights).sum((-2, -1))

    x, y = windows(x), windows(y)
    mx, my = mean(x), mean(y)
    dx, dy = x - mx[..., None, None], y - my[..., None, None]
    sxy, sxx, syy = mean(dx * dy), mean(dx * dx), mean(dy * dy)
    c1, c2 = 0.0001, 0.0009
    return (2 * mx * my + c1) * (2 * sxy + c2) / ((mx**2 + my**2 + c1) * (sxx + syy + c2))


def test_l2_is_the_mean_squared_error_of_each_image():
    x = np.zeros((2, 4, 5, 3), np.float32)
    y = x.copy()
    y[1, 0, 0, 0], y[1, 3, 4, 2] = 1, 0.5
    np.testing.assert_allclose(losses.l2(x, y), [0, 1.25 / 60], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("window", [11, 7])
def test_ssim_is_equation_13(kind, window):
    x, y = pairs()
    expected = 1 - direct(x, y, window, kind).mean((1, 2, 3))
    found = ssim(x, y, window=window, kind=kind)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_ssim_map_is_equation_13_around_every_pixel(kind):
    x, y = pairs()
    expected = direct(x, y, 11, kind).mean(-1)
    found = ssim_map(x, y, kind=kind)
    assert found.shape == (5, 24, 30)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)
    assert float(jnp.abs(found).max()) <= 1 + 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_ssim_is_scikit_image_s(kind):
    metrics = pytest.importorskip("skimage.metrics")
    x, y = pairs()
    for i, (a, b) in enumerate(zip(x.astype(np.float64), y.astype(np.float64), strict=True)):
        _, whole = metrics.structural_similarity(
            a,
            b,
            win_size=11,
            data_range=1,
            channel_axis=-1,
            gaussian_weights=kind == "gaussian",
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        found = ssim(x, y, kind=kind)[i]
        np.testing.assert_allclose(found, 1 - whole.mean(), rtol=0, atol=1e-5)
        found = ssim_map(x, y, kind=kind)[i]
        np.testing.assert_allclose(found, whole.mean(-1), rtol=0, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [None, 0.0, 0.5, 1.0])
def test_equal_images_have_no_loss_and_finite_gradients(kind, value):
    images = pairs()[0] if value is None else np.full((2, 16, 16, 3), value, np.float32)
    for loss in (losses.l2, lambda x, y: ssim(x, y, kind=kind)):
        values, pullback = jax.vjp(lambda y, loss=loss: loss(images, y), images)
        (gradient,) = jax.jit(pullback)(jnp.ones(len(images)))
        np.testing.assert_allclose(values, 0, atol=1e-6)
        assert jnp.isfinite(gradient).all()
        np.testing.assert_allclose(gradient, 0, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_the_gradient_of_ssim_is_finite_and_right_on_flat_reconstructions(value):
    x = pairs()[0][:1, :13, :13]
    y = np.full_like(x, value)
    gradient = jax.jit(jax.grad(lambda y: ssim(x, y).sum()))(y)
    assert jnp.isfinite(gradient).all()
    step = 1e-4 * np.random.default_rng(1).normal(size=x.shape)
    ends = [
        1 - direct(x, y.astype(np.float64) + sign * step, 11, "gaussian").mean() for sign in (1, -1)
    ]
    np.testing.assert_allclose(
        (np.asarray(gradient) * step).sum(), (ends[0] - ends[1]) / 2, rtol=1e-3
    )


def test_the_border_of_an_image_counts_as_its_middle_does():
    x = pairs()[0][:1]
    y = np.clip(x + 0.1, 0, 1)
    gradient = np.abs(jax.grad(lambda y: ssim(x, y).sum())(y)).mean((0, 3))
    border = np.concatenate([gradient[0], gradient[-1], gradient[:, 0], gradient[:, -1]])
    assert 0.5 < border.mean() / gradient[6:-6, 6:-6].mean() < 2


def test_ssim_sees_structure_that_l2_does_not():
    stripes = np.broadcast_to(np.arange(24)[:, None] % 2, (1, 24, 24)).astype(np.float32)
    x = (0.5 + 0.2 * (stripes - 0.5))[..., None].repeat(3, -1)
    brighter, inverted = x + 0.2, 1 - x
    np.testing.assert_allclose(losses.l2(x, brighter), losses.l2(x, inverted), rtol=1e-5)
    assert float(ssim(x, brighter)[0]) < 0.1 < 1.5 < float(ssim(x, inverted)[0])


def test_losses_of_bfloat16_reconstructions_are_float32():
    x, y = pairs()
    low = jnp.asarray(y, jnp.bfloat16)
    for loss in (losses.l2, losses.ssim, losses.ssim_map):
        found = loss(x, low)
        assert found.dtype == jnp.float32
        np.testing.assert_array_equal(found, loss(x, low.astype(jnp.float32)))


@pytest.mark.usefixtures("unchecked_shapes")
def test_other_shapes_windows_and_kinds_are_refused():
    x, y = pairs()
    for loss in (losses.l2, losses.ssim, losses.ssim_map):
        with pytest.raises(
            ValueError, match=r"the same shape \[b, h, w, c\], not \(5, 24, 30, 3\)"
        ):
            loss(x, y[:1])
        with pytest.raises(ValueError, match=r"\[b, h, w, c\], not \(24, 30, 3\)"):
            loss(x[0], y[0])
    with pytest.raises(ValueError, match="window: 10; accepted: odd"):
        ssim(x, y, window=10)
    with pytest.raises(ValueError, match="at most the image's side, 24"):
        ssim(x, y, window=25)
    with pytest.raises(ValueError, match="kind: 'box'; accepted: gaussian, uniform"):
        ssim(x, y, kind="box")
