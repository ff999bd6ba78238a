"""Heads: coordinates of heat maps, losses by hand and by finite differences, masks, mirror images, learning."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from convnets_jax.compact import CompactConfig, CompactFeatures
from deeppose_jax import heads
from deeppose_jax.flow import RealNVP
from deeppose_jax.heads import (
    LARGEST_SCALE,
    SMALLEST_SCALE,
    Estimate,
    IntegralHead,
    RegressionHead,
    ResidualHead,
)
from deeppose_jax.skeleton import LSP

bounded_scales, laplace_nll, masked_l2, soft_argmax = map(
    jax.jit, (heads.bounded_scales, heads.laplace_nll, heads.masked_l2, heads.soft_argmax)
)
mirror = jax.jit(heads.mirror, static_argnums=1)


@nnx.jit
def output(head, *inputs):
    return head(*inputs)


def _random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("cell", [(0, 0), (2, 3), (3, 5)])
def test_a_heat_map_of_one_cell_is_that_cells_centre(cell):
    i, j = cell
    heat = jnp.zeros((1, 4, 6, 1)).at[0, i, j, 0].set(1)
    expected = [(j + 0.5) / 6 - 0.5, (i + 0.5) / 4 - 0.5]
    np.testing.assert_allclose(soft_argmax(heat)[0, 0], expected, atol=1e-7)


def test_soft_argmax_is_the_mean_of_each_map():
    heat = np.random.default_rng(0).uniform(size=(2, 3, 5, 4))
    heat /= heat.sum((1, 2), keepdims=True)
    expected = np.zeros((2, 4, 2))
    for i in range(3):
        for j in range(5):
            centre = np.array([(j + 0.5) / 5 - 0.5, (i + 0.5) / 3 - 0.5])
            expected += heat[:, i, j, :, None] * centre
    np.testing.assert_allclose(soft_argmax(jnp.asarray(heat, jnp.float32)), expected, atol=1e-6)


def test_an_integral_head_finds_the_cell_that_its_weights_look_for():
    head = IntegralHead(3, 3, rngs=nnx.Rngs(0))
    head.heat.kernel[...] = 1000 * jnp.eye(3)  # joint i is where channel i is
    cells = np.array([[0, 1], [3, 3], [2, 0]])  # rows and columns of 4
    features = jnp.zeros((1, 4, 4, 3)).at[0, cells[:, 0], cells[:, 1], jnp.arange(3)].set(1)
    target = (jnp.asarray(cells[None, :, ::-1]) + 0.5) / 4 - 0.5
    estimate = output(head, features)
    np.testing.assert_allclose(estimate.joints, target, atol=1e-6)
    heat = head.heat_maps(features)
    np.testing.assert_allclose(heat.sum((1, 2)), 1, atol=1e-6)
    np.testing.assert_allclose(heat[0, cells[:, 0], cells[:, 1], np.arange(3)], 1, atol=1e-6)


def test_scales_are_read_where_the_joint_is():
    head = IntegralHead(3, 2, rngs=nnx.Rngs(0))
    features = _random(1, 4, 4, 3)
    np.testing.assert_allclose(output(head, features).scales, 0.1, rtol=1e-5)  # before training
    head.heat.kernel[...] = jnp.array([[1000.0, -1000.0], [0.0, 0.0], [0.0, 0.0]])
    head.scale_kernel[...] = jnp.array([[0.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    head.scale_bias[...] = jnp.array([0.5, -0.5])
    flat = np.asarray(features).reshape(16, 3)
    high, low = flat[flat[:, 0].argmax()], flat[flat[:, 0].argmin()]
    logits = np.array([high[1] + 0.5, 2 * low[2] - 0.5])
    expected = 0.005 * (2 / 0.005) ** (1 / (1 + np.exp(-logits)))
    np.testing.assert_allclose(output(head, features).scales[0], expected, rtol=1e-4)


def test_scales_stay_in_their_range_and_keep_a_gradient():
    logits = jnp.array([-1e4, -8.0, 0.0, 8.0, 1e4])
    scales = np.asarray(bounded_scales(logits))
    assert (scales >= SMALLEST_SCALE * (1 - 1e-5)).all()
    assert (scales <= LARGEST_SCALE * (1 + 1e-5)).all()
    gradients = jax.vmap(jax.grad(bounded_scales))(logits)
    assert np.isfinite(np.asarray(gradients)).all()
    assert (np.asarray(gradients[1:4]) > 0).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_heads_give_float32_estimates(dtype):
    features = _random(2, 4, 5, 6).astype(dtype)
    regression = RegressionHead(120, 14, (8,), 0.0, dtype=dtype, rngs=nnx.Rngs(0))
    residual = ResidualHead(120, 14, (8,), 0.0, dtype=dtype, rngs=nnx.Rngs(0))
    integral = IntegralHead(6, 14, dtype=dtype, rngs=nnx.Rngs(0))
    found = {head: output(head, features) for head in (regression, residual, integral)}
    assert found[regression].scales is None
    for head in (residual, integral):
        scales = found[head].scales
        assert scales.shape == (2, 14)
        assert scales.dtype == jnp.float32
        np.testing.assert_allclose(scales, 0.1, rtol=1e-5)  # before training
    assert integral.heat_maps(features).dtype == jnp.float32
    for head, estimate in found.items():
        assert estimate.joints.shape == (2, 14, 2)
        assert estimate.joints.dtype == jnp.float32
        assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(head, nnx.Param))} == {
            jnp.dtype(jnp.float32)
        }


def test_heads_of_a_single_joint():
    features = _random(2, 3, 3, 4)
    regression = output(RegressionHead(36, 1, (), 0.0, rngs=nnx.Rngs(0)), features)
    integral = output(IntegralHead(4, 1, rngs=nnx.Rngs(0)), features)
    assert regression.joints.shape == integral.joints.shape == (2, 1, 2)
    estimate = output(ResidualHead(36, 1, (), 0.0, rngs=nnx.Rngs(0)), features)
    assert (estimate.joints.shape, estimate.scales.shape) == ((2, 1, 2), (2, 1))


def test_dropout_of_the_regression_head_acts_in_training_only():
    head = RegressionHead(36, 2, (32,), 0.5, rngs=nnx.Rngs(0))
    features = _random(2, 3, 3, 4)
    head.train()
    a, b = (output(head, features, nnx.Rngs(dropout=seed)).joints for seed in (0, 1))
    assert not np.allclose(a, b)
    head.eval()
    first, again = (output(head, features).joints for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_masked_l2_is_the_sum_over_labelled_joints():
    target = jnp.zeros((2, 3, 2))
    predicted = jnp.array([[[3.0, 4], [1, 0], [9, 9]], [[0.0, 0], [2, 1], [1e30, 1]]])
    labelled = jnp.array([[True, True, False], [True, True, False]])
    np.testing.assert_allclose(masked_l2(predicted, target, labelled), [26, 5])


def test_the_laplace_likelihood_by_hand():
    joints = jnp.array([[[0.1, -0.2], [0.3, 0.0]], [[0.0, 0.0], [0.5, 0.5]]])
    scales = jnp.array([[0.1, 0.5], [0.25, 0.2]])
    target = jnp.zeros((2, 2, 2))
    labelled = jnp.array([[True, True], [True, False]])
    # 0.3 / 0.1 + 2 ln 0.2 + 0.3 / 0.5 + 2 ln 1, and 0 + 2 ln 0.5
    expected = [3 - 3.2188758 + 0.6, -1.3862944]
    np.testing.assert_allclose(laplace_nll(joints, scales, target, labelled), expected, rtol=1e-5)


def test_gradients_of_the_laplace_loss_equal_finite_differences():
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        joints, target = rng.normal(size=(2, 2, 3, 2))
        scales = rng.uniform(0.1, 1, size=(2, 3))
        labelled = rng.uniform(size=(2, 3)) > 0.3
        labelled[0, 0], labelled[1, 2] = True, False

        def loss(joints, scales):
            return laplace_nll(joints, scales, target, labelled).sum()

        gradients = jax.grad(loss, (0, 1))(jnp.asarray(joints), jnp.asarray(scales))
        step = 1e-6
        for argument, gradient in enumerate(gradients):
            for at in np.ndindex(*gradient.shape):
                moved = [[joints.copy(), scales.copy()] for _ in range(2)]
                moved[0][argument][at] += step
                moved[1][argument][at] -= step
                expected = (loss(*moved[0]) - loss(*moved[1])) / (2 * step)
                np.testing.assert_allclose(gradient[at], expected, rtol=1e-5, atol=1e-6)


def test_the_residual_likelihood_with_an_untrained_flow_by_hand():
    """The Laplace likelihood, and the normal one of deviation b of both coordinates."""
    joints, scales = jnp.array([[[0.1, -0.2], [5.0, 5.0]]]), jnp.array([[0.1, 0.5]])
    target, labelled = jnp.zeros((1, 2, 2)), jnp.array([[True, False]])
    flow = RealNVP(2, 4, rngs=nnx.Rngs(0))
    laplace = 0.3 / 0.1 + 2 * np.log(2 * 0.1)
    normal = (1 + 4) / 2 + np.log(2 * np.pi) + 2 * np.log(0.1)
    found = nnx.jit(heads.residual_nll)(flow, joints, scales, target, labelled)
    np.testing.assert_allclose(found, [laplace + normal], rtol=1e-5)


def test_scales_are_least_wrong_where_they_are_the_mean_absolute_error():
    """Under the Laplace likelihood alone; and with a flow that knows how such errors are distributed."""
    errors = np.random.default_rng(0).laplace(scale=0.2, size=(1, 4000, 2))
    target, labelled = jnp.zeros((1, 4000, 2)), jnp.ones((1, 4000), bool)
    scales = np.geomspace(0.1, 0.4, 21)  # The middle one is 0.2.
    joints = jnp.asarray(errors, jnp.float32)

    class Laplace:
        def log_prob(self, points):
            return -jnp.abs(points).sum(-1) - 2 * np.log(2)

    for loss in (laplace_nll, jax.jit(partial(heads.residual_nll, Laplace()))):
        found = [
            float(loss(joints, jnp.full((1, 4000), b, jnp.float32), target, labelled)[0])
            for b in scales
        ]
        assert abs(int(np.argmin(found)) - 10) <= 1


HEADS = ("regression", "rle", "integral", "integral_rle")


def made(kind, features=4, joints=3):
    rngs = nnx.Rngs(0)
    if kind == "regression":
        return RegressionHead(features, joints, (), 0.0, rngs=rngs)
    if kind == "rle":
        return ResidualHead(features, joints, (), 0.0, rngs=rngs)
    return IntegralHead(features, joints, kind == "integral_rle", rngs=rngs)


@pytest.mark.parametrize("kind", HEADS)
def test_unlabelled_joints_give_no_loss_and_no_gradient_whatever_they_hold(kind):
    labelled = jnp.array([[True, False, False]])
    target = jnp.array([[[0.1, 0.2], [jnp.nan, jnp.inf], [0.0, 0.0]]])
    joints = jnp.array([[[0.3, 0.1], [0.0, 0.0], [jnp.nan, jnp.inf]]])
    scales = None if kind == "regression" else jnp.array([[0.2, 0.0, jnp.nan]])
    estimate = Estimate(joints, scales)
    first = jax.tree.map(lambda leaf: leaf[:, :1], estimate)
    graphdef, variables = nnx.split(made(kind))

    @jax.jit
    @partial(jax.value_and_grad, argnums=(0, 1))
    def loss(variables, estimate, target, labelled):
        return nnx.merge(graphdef, variables).loss(estimate, target, labelled).sum()

    alone, (alone_by_variable, _) = loss(variables, first, target[:, :1], labelled[:, :1])
    value, (by_variable, gradient) = loss(variables, estimate, target, labelled)
    np.testing.assert_allclose(value, alone, rtol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        by_variable,
        alone_by_variable,
    )
    for leaf in jax.tree.leaves(gradient):
        assert np.isfinite(np.asarray(leaf)).all()
        np.testing.assert_array_equal(leaf[:, 1:], 0)
        assert (np.asarray(leaf[:, 0]) != 0).all()


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("kind", "joints", "scales", "target", "labelled"),
    [
        ("regression", (2, 1, 2), None, (2, 3, 2), (2, 3)),
        ("regression", (2, 3, 2), None, (2, 3, 2), (2, 1)),
        ("integral", (2, 3, 2), (2, 1), (2, 3, 2), (2, 3)),
        ("rle", (2, 3, 2), (2, 1), (2, 3, 2), (2, 3)),
    ],
)
def test_shapes_that_would_broadcast_are_refused(kind, joints, scales, target, labelled):
    estimate = Estimate(jnp.zeros(joints), None if scales is None else jnp.ones(scales))
    with pytest.raises(ValueError, match="don't fit"):
        made(kind).loss(estimate, jnp.zeros(target), jnp.ones(labelled, bool))


def test_only_the_loss_uses_the_flow():
    head = made("rle")
    features = jax.ShapeDtypeStruct((2, 1, 1, 4), jnp.float32)
    predict = str(jax.make_jaxpr(lambda x: head(x))(features))
    assert "tanh" not in predict
    assert "scan" not in predict
    count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(head, nnx.Param)))
    # 4 x 6 and 4 x 3 weights; six couplings of two networks 1 - 64 - 64 - 1.
    assert count == (4 * 6 + 6) + (4 * 3 + 3) + 12 * (64 + 64 + 64 * 64 + 64 + 64 + 1)


def test_a_mirrored_estimate_by_hand():
    joints = _random(2, 14, 2)
    mirrored = mirror(Estimate(joints, jnp.abs(joints[..., 0])), LSP)
    left, right = LSP.joints.index("left_knee"), LSP.joints.index("right_knee")
    np.testing.assert_array_equal(mirrored.joints[:, left], joints[:, right] * np.array([-1, 1]))
    np.testing.assert_array_equal(mirrored.joints[:, 12], joints[:, 12] * np.array([-1, 1]))
    np.testing.assert_array_equal(mirrored.scales[:, left], jnp.abs(joints[:, right, 0]))


@pytest.mark.parametrize("scales", [None, _random(3, 14, seed=1)])
def test_mirroring_twice_changes_nothing(scales):
    estimate = Estimate(_random(3, 14, 2), scales)
    twice = mirror(mirror(estimate, LSP), LSP)
    jax.tree.map(np.testing.assert_array_equal, twice, estimate)


def test_an_estimate_of_one_joint_is_not_mirrored():
    with pytest.raises(ValueError, match="1 joints can't be mirrored by a skeleton of 14"):
        heads.mirror(Estimate(jnp.zeros((2, 1, 2))), LSP)


def test_a_head_with_symmetric_weights_commutes_with_mirroring():
    head = IntegralHead(14, 14, rngs=nnx.Rngs(0))
    swap = np.asarray(LSP.swap)  # a mirrored image's channels, too, swap left and right
    for parameter, axes in ((head.heat.kernel, (0, 1)), (head.scale_kernel, (0, 1))):
        value = _random(14, 14)
        for axis in axes:
            swapped = value.take(swap, axis) if axis == 0 else swapped.take(swap, axis)
        parameter[...] = value + swapped
    features = _random(2, 5, 7, 14, seed=1)
    expected = mirror(output(head, features), LSP)
    found = output(head, features[:, :, ::-1][..., swap])
    np.testing.assert_allclose(found.joints, expected.joints, atol=1e-6)
    np.testing.assert_allclose(found.scales, expected.scales, rtol=1e-5)


@pytest.mark.parametrize("flow", [False, True])
def test_backbone_and_integral_head_fit_images_of_blobs_and_say_how_well(flow):
    rng = np.random.default_rng(0)
    target = rng.uniform(-0.4, 0.4, (8, 2, 2))  # of a bright and of a dark blob
    y, x = (np.mgrid[:32, :32] + 0.5) / 32 - 0.5
    offsets = np.stack([x, y], -1)[None, :, :, None] - target[:, None, None]
    blobs = np.exp(-np.square(offsets).sum(-1) / 0.01) @ np.array([1.0, -1.0])  # [b, h, w]
    images = jnp.asarray(blobs[..., None] + 0.1 * rng.normal(size=(8, 32, 32, 3)), jnp.float32)
    target, labelled = jnp.asarray(target, jnp.float32), jnp.ones((8, 2), bool)
    config = CompactConfig(widths=(16, 16), blocks=(0, 1), out_channels=16)
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(CompactFeatures(config, rngs=rngs), IntegralHead(16, 2, flow, rngs=rngs))
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    optimizer = optax.adam(0.02)

    def loss_of(params):
        model = nnx.merge(graphdef, params, rest, copy=True)
        estimate = model(images)
        return model.layers[-1].loss(estimate, target, labelled).mean(), estimate

    @jax.jit
    def step(params, opt_state):
        (_, estimate), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, estimate

    opt_state, errors = optimizer.init(params), []
    for _ in range(60):
        params, opt_state, estimate = step(params, opt_state)
        errors.append(float(jnp.abs(estimate.joints - target).mean()))
    assert errors[0] > 0.1
    # While a flow learns, scales are too large and steps too small.
    assert errors[-1] < (0.05 if flow else 0.03)
    if not flow:
        np.testing.assert_allclose(estimate.scales.mean(), errors[-1], rtol=0.6)
