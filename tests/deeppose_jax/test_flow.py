"""The flow: a density of integral 1, an identity at first, and a fit to a density that has a formula."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from deeppose_jax.flow import RealNVP


def random_flow(couplings=4, hidden=8):
    flow = RealNVP(couplings, hidden, rngs=nnx.Rngs(0))
    params = nnx.state(flow, nnx.Param)
    leaves, treedef = jax.tree.flatten(params)
    rng = np.random.default_rng(1)
    moved = [leaf + 0.3 * rng.normal(size=leaf.shape).astype(np.float32) for leaf in leaves]
    nnx.update(flow, jax.tree.unflatten(treedef, moved))
    return flow


def test_an_untrained_flow_is_the_standard_normal_density():
    points = jnp.array([[[0.0, 0.0], [1.0, -2.0]]])  # [1, 2, 2]
    found = RealNVP(rngs=nnx.Rngs(0)).log_prob(points)
    np.testing.assert_allclose(found, [[-1.8378771, -1.8378771 - 2.5]], rtol=1e-6)


def test_the_density_of_any_weights_integrates_to_one():
    side = np.linspace(-15, 15, 601)
    points = np.stack(np.meshgrid(side, side), -1).astype(np.float32)
    density = np.exp(np.asarray(random_flow().log_prob(jnp.asarray(points)), np.float64))
    peak, edge = density.max(), max(density[0].max(), density[:, 0].max(), density[-1].max())
    assert edge < 1e-4 * peak  # The grid holds all of it.
    assert np.abs(density - np.exp(-(points**2).sum(-1) / 2) / (2 * np.pi)).max() > 0.05
    np.testing.assert_allclose(density.sum() * (side[1] - side[0]) ** 2, 1, atol=5e-3)


def test_the_networks_are_those_of_the_equation():
    """One coupling of one point, in NumPy."""
    flow = random_flow(couplings=1, hidden=3)
    p = {name: np.asarray(value[...])[0] for name, value in nnx.state(flow).items()}
    x, y = 0.7, -1.3

    def network(i):
        leaky = lambda v: np.where(v > 0, v, 0.01 * v)  # noqa: E731
        hidden = leaky(x * p["kernel1"][i] + p["bias1"][i])
        hidden = leaky(hidden @ p["kernel2"][i] + p["bias2"][i])
        return hidden @ p["kernel3"][i] + p["bias3"][i]

    s, t = np.tanh(network(0)), network(1)
    z = y * np.exp(s) + t
    expected = s - (x**2 + z**2) / 2 - np.log(2 * np.pi)
    np.testing.assert_allclose(flow.log_prob(jnp.array([x, y])), expected, rtol=1e-5)


def test_a_flow_learns_a_density():
    """y follows x^2: the likelihood gets near to the true one, which no normal density does."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(512,))
    points = jnp.asarray(np.stack([x, x**2 / 2 + 0.3 * rng.normal(size=512)], -1), jnp.float32)
    graphdef, params = nnx.split(RealNVP(4, 16, rngs=nnx.Rngs(0)))
    optimizer = optax.adam(2e-2)

    @jax.jit
    def step(params, opt_state):
        loss, grads = jax.value_and_grad(
            lambda params: -nnx.merge(graphdef, params).log_prob(points).mean()
        )(params)
        updates, opt_state = optimizer.update(grads, opt_state)
        return optax.apply_updates(params, updates), opt_state, loss

    opt_state, losses = optimizer.init(params), []
    for _ in range(150):
        params, opt_state, loss = step(params, opt_state)
        losses.append(float(loss))
    entropy = np.log(2 * np.pi * np.e * 0.3)  # of two independent normal variables: 1.634
    covariance = np.cov(np.asarray(points), rowvar=False)
    best_normal = np.log(2 * np.pi * np.e) + np.log(np.linalg.det(covariance)) / 2
    assert losses[-1] < entropy + 0.2 * (best_normal - entropy)


@pytest.mark.usefixtures("unchecked_shapes")
def test_points_of_another_dimension_are_refused():
    with pytest.raises(ValueError, match=r"points are \[\*b, 2\], not \(4, 3\)"):
        RealNVP(1, 2, rngs=nnx.Rngs(0)).log_prob(jnp.zeros((4, 3)))
