from functools import partial

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from classify_jax.augment import augment
from classify_jax.config import ClassificationConfig
from classify_jax.losses import training_loss
from classify_jax.networks import NARROW, all_logits, build
from classify_jax.predictor import Predictor
from classify_jax.report import first_kernel
from classify_jax.train_step import Batch, train_step
from classify_jax.views import views
from convnets_jax.imagenet import normalise
from engine_jax import sharding
from engine_jax.config import from_mapping
from engine_jax.state import create_state, graph_defs
from tests.classify_jax.settings import shrink, tiny_config


def started(settings):
    network = partial(build, settings.model, 10)
    optimizer = optax.adam(1e-2)
    everywhere = sharding.replicated(sharding.device_mesh())
    state = create_state(network, optimizer, jax.random.key(0), everywhere)
    return state, graph_defs(network), optimizer


def test_steps_learn_and_views_are_averaged(monkeypatch):
    shrink(monkeypatch)
    config = tiny_config(data__size=40, model__name=NARROW, model__input_size=36)
    settings = from_mapping(ClassificationConfig, config)
    state, graphs, optimizer = started(settings)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (8, 40, 40, 3), np.uint8)
    batch = Batch(images, np.arange(8, dtype=np.int32))
    step = jax.jit(
        partial(
            train_step,
            graphdef=graphs.train,
            optimizer=optimizer,
            trained=nnx.Param,
            settings=settings,
            weights=np.ones(10, np.float32),
            components=np.zeros((3, 3), np.float32),
            key=jax.random.key(1),
        )
    )
    losses = []
    for _ in range(12):
        state, loss = step(state, batch)
        losses.append(float(loss))
    assert np.mean(losses[-3:]) < 0.8 * losses[0]
    kernel = first_kernel(state.variables)
    assert kernel is not None
    assert kernel.shape == (7, 7, 3, 4)

    weights = np.ones(10, np.float32)
    predictor = Predictor(graphs.evaluate, 36, weights, sharding.device_mesh())
    variables = state.variables
    chosen = views(40, 36, "five", mirror=True)
    found = predictor(variables, *batch, chosen, 4)
    single = [predictor(variables, *batch, [view], 4).probabilities for view in chosen]
    np.testing.assert_allclose(found.probabilities, np.mean(single, 0), atol=1e-6)
    assert np.abs(single[0] - single[1]).max() > 1e-6
    # By hand: the second corner, mirrored.
    view = chosen[7]
    cut = images[:, view.top : view.top + 36, view.left : view.left + 36][:, :, ::-1]
    centre = views(36, 36, "centre", mirror=False)
    by_hand = predictor(variables, cut, batch.labels, centre, 4)
    np.testing.assert_allclose(single[7], by_hand.probabilities, atol=1e-6)
    true = np.take_along_axis(by_hand.probabilities, batch.labels[:, None], 1)[:, 0]
    np.testing.assert_allclose(by_hand.losses, -np.log(true), rtol=1e-4, atol=1e-5)


def test_a_step_is_taken_on_the_augmented_images():
    changes = {"flip_vertical": True, "rotation": 30.0, "scale": 0.5, "blur": 1.0, "colour": 0.1}
    config = {f"augment__{name}": value for name, value in changes.items()}
    settings = from_mapping(ClassificationConfig, tiny_config(**config))
    state, graphs, optimizer = started(settings)
    images = np.random.default_rng(0).integers(0, 256, (8, 36, 36, 3), np.uint8)
    batch = Batch(images, np.arange(8, dtype=np.int32))
    weights, components, key = np.ones(10, np.float32), 0.1 * np.eye(3), jax.random.key(1)

    @jax.jit
    def loss_of(inputs):
        model = nnx.merge(graphs.train, state.params, state.model_state, copy=True)
        outputs = all_logits(model, normalise(inputs), nnx.Rngs(0))
        return training_loss(outputs, batch.labels, weights).mean()

    @jax.jit
    def augmented(key):
        augment_key = jax.random.split(jax.random.fold_in(key, 0))[0]
        return augment(augment_key, images, 32, components, settings.augment)

    changed = float(loss_of(augmented(key)))
    assert abs(changed - loss_of(images[:, :32, :32] / np.float32(255))) > 1e-3
    named = {"graphdef": graphs.train, "optimizer": optimizer, "trained": nnx.Param}
    named |= {"settings": settings, "weights": weights, "components": components, "key": key}
    found = jax.jit(partial(train_step, **named))(state, batch)[1]
    assert float(found) == pytest.approx(changed, rel=1e-4)
