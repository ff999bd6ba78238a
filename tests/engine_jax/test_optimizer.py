from dataclasses import replace

import jax
import numpy as np
import pytest

from engine_jax.optimizer import OptimizerConfig, block_of, make_optimizer, update_plateau
from engine_jax.stacked import stacked

ADAM = OptimizerConfig("adam", 0.1, "constant", 2, 0.9, 0.0)
SGD = replace(ADAM, kind="sgd")
ONES = np.ones((2, 3), np.float32)
PARAMS = {"features": {"kernel": ONES[:, :2], "bias": ONES[:, 0]}, "logits": ONES[0]}


def updates_of(optimizer, state):
    return jax.jit(optimizer.update)(PARAMS, state, PARAMS)


def init(optimizer, params=PARAMS):
    return jax.jit(optimizer.init)(params)


def test_sgd_is_gradient_descent_with_momentum_and_decay_of_kernels():
    optimizer = make_optimizer(replace(SGD, weight_decay=0.5), 10)
    state, update = init(optimizer), jax.jit(optimizer.update)
    params, kernel_velocity, bias_velocity = PARAMS, 0.0, 0.0
    kernel, bias = 1.0, 1.0
    for gradient in (1.0, -2.0, 0.5):
        grads = jax.tree.map(lambda x, g=gradient: np.full_like(x, g), params)
        updates, state = update(grads, state, params)
        params = jax.tree.map(np.add, params, updates)
        # Krizhevsky et al. 2012, section 5.
        kernel_velocity = 0.9 * kernel_velocity - 0.1 * (gradient + 0.5 * kernel)
        bias_velocity = 0.9 * bias_velocity - 0.1 * gradient
        kernel, bias = kernel + kernel_velocity, bias + bias_velocity
        np.testing.assert_allclose(params["features"]["kernel"], kernel, rtol=1e-6)
        np.testing.assert_allclose(params["features"]["bias"], bias, rtol=1e-6)


def test_a_cycle_ends_at_zero():
    optimizer = make_optimizer(replace(SGD, schedule="one_cycle", momentum=0.0), 20)
    state, update = init(optimizer), jax.jit(optimizer.update)
    sizes = []
    for _ in range(20):
        updates, state = update(PARAMS, state, PARAMS)
        sizes.append(-float(np.asarray(updates["logits"])[0]))
    assert max(sizes) == pytest.approx(0.1)
    assert sizes.index(max(sizes)) == 2
    assert sizes[-1] < 0.002


@pytest.mark.parametrize("stack", [None, 3])
def test_the_rate_falls_where_validation_stops_improving(stack):
    config = replace(SGD, schedule="plateau", momentum=0.0)
    optimizer, params = make_optimizer(config, 10), PARAMS
    if stack:
        optimizer = stacked(optimizer)
        params = jax.tree.map(lambda x: np.stack([x] * stack), params)
    state, update = init(optimizer, params), jax.jit(optimizer.update)
    rates = []
    # Losses below 0 are losses too.
    for loss in (3.0, 2.0, 2.5, 2.0, -1.0, -1.1, -1.0, -1.0, -1.0, -1.0):
        state = update_plateau(config, state, loss)
        updates, state = update(params, state, params)
        assert updates["logits"].shape == params["logits"].shape
        rates.append(-float(np.ravel(updates["logits"])[0]))
    steps = [0.1] * 3 + [0.01] * 4 + [0.001] * 2 + [0.0001]
    np.testing.assert_allclose(rates, steps, rtol=1e-5)


def test_other_schedules_hear_nothing_of_evaluations():
    state = init(make_optimizer(ADAM, 10))
    assert update_plateau(ADAM, state, 1.0) is state


def test_blocks_have_rates_of_their_own():
    plain = make_optimizer(ADAM, 10)
    expected, _ = updates_of(plain, init(plain))
    rates = {"features": 0.5, "features.bias": 0.0}
    optimizer = make_optimizer(ADAM, 10, rates)
    found, _ = updates_of(optimizer, init(optimizer))
    found, expected = jax.tree.map(np.asarray, (found, expected))
    np.testing.assert_allclose(
        found["features"]["kernel"], 0.5 * expected["features"]["kernel"], rtol=1e-6
    )
    assert not found["features"]["bias"].any()
    np.testing.assert_array_equal(found["logits"], expected["logits"])


def test_the_longest_block_counts_and_names_are_whole():
    blocks = ("", "features.stages.1", "features")
    assert block_of("features.stages.1.conv.kernel", blocks) == "features.stages.1"
    assert block_of("features.stages.10.conv.kernel", blocks) == "features"
    assert block_of("logits.bias", blocks) == ""
    assert block_of("logits.bias", ("features",)) is None
