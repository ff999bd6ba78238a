"""Trains a run's network, and applies the best parameters."""

from dataclasses import dataclass, replace
from functools import partial

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from classify_jax import metrics
from classify_jax.augment import principal_components
from classify_jax.config import ClassificationConfig
from classify_jax.data.image_set import ImageSet
from classify_jax.data.load import Parts
from classify_jax.losses import class_weights
from classify_jax.networks import build
from classify_jax.predictor import Outputs, Predictor
from classify_jax.train_step import Batch, train_step
from classify_jax.views import views
from convnets_jax import torchvision
from convnets_jax.phases import Phase, in_phases, phases, plans, started
from engine_jax import sharding
from engine_jax.feed import make_train_call
from engine_jax.loop import Evaluate, Fit, fit
from engine_jax.optimizer import make_optimizer, observe_validation
from engine_jax.plan import Plan, make_plan
from engine_jax.run_folder import RunFolder
from engine_jax.state import TrainState, create_state, graph_defs

PART = "classifier"  # the name of what is trained, in checkpoints/ and metrics.jsonl


@dataclass(frozen=True)
class TrainedClassifier:
    """A run's network after training.

    Attributes:
        fitted: what came of training.
        test: what the best parameters say about the test part, averaged over the config's views.
        single: what they say about its centre crops alone.
    """

    fitted: Fit
    test: Outputs
    single: Outputs


def train_classifier(
    settings: ClassificationConfig, parts: Parts, mesh: Mesh, folder: RunFolder
) -> TrainedClassifier:
    """Trains the network, or goes on where that was stopped, and applies the best parameters.

    Raises:
        UserError: when weights or the folder's checkpoint are of another architecture, or the loss is no longer finite.
    """
    network = partial(build, settings.model, len(parts.class_names))
    graphdef = graph_defs(network).evaluate
    weights = class_weights(parts.train.counts, settings.loss.class_weights)
    evaluation, size = settings.evaluation, settings.model.input_size
    predictor = Predictor(graphdef, size, weights, evaluation.batch_size, mesh)
    centre = views(settings.data.size, size, "centre", mirror=False)
    # As many training images as validation ones: enough to see how far the two are apart.
    few = slice(len(parts.validation))

    def outputs(state: TrainState, part: ImageSet, some: slice = slice(None)) -> Outputs:
        images, labels = part.images[some], part.labels[some]
        return predictor(state.params, state.model_state, images, labels, centre)

    def evaluate(state: TrainState) -> dict[str, float]:
        found = outputs(state, parts.validation)
        seen = outputs(state, parts.train, few)
        return {
            "validation/loss": float(found.losses.mean(dtype=np.float64)),
            **_errors("validation", found, parts.validation.labels),
            **_errors("train", seen, parts.train.labels[few]),
        }

    plan = make_plan(settings.train, settings.evaluation.every, len(parts.train))
    fitted = in_phases(
        named_phases(settings),
        plans(settings.transfer, plan),
        partial(train_phase, settings, parts, weights, mesh, folder, evaluate),
    )
    best, test = fitted.best, parts.test
    single = outputs(best, test)
    chosen = views(settings.data.size, size, evaluation.crops, evaluation.mirror)
    averaged = single
    if chosen != centre:
        averaged = predictor(best.params, best.model_state, test.images, test.labels, chosen)
    return TrainedClassifier(fitted, averaged, single)


def train_phase(
    settings: ClassificationConfig,
    parts: Parts,
    weights: np.ndarray,
    mesh: Mesh,
    folder: RunFolder,
    evaluate: Evaluate,
    number: int,
    phase: Phase,
    plan: Plan,
    before: Fit | None,
) -> Fit:
    """Trains for one phase, from the best parameters of the phase before it.

    Args:
        settings: the run's.
        parts: the data.
        weights: of the classes in the loss.
        mesh: see `engine_jax.sharding.batch_mesh`.
        folder: of the run.
        evaluate: see `engine_jax.loop.Evaluate`.
        number: of the phase, from 0; its random numbers follow from it.
        phase: what is trained.
        plan: how long.
        before: what came of the phase before it.
    """
    seed = settings.seed + 2 * number
    network = partial(build, settings.model, len(parts.class_names))
    graphs = graph_defs(network, phase.trained)
    rates = dict(settings.transfer.rates)
    optimizer = make_optimizer(settings.optimizer, plan.steps, rates)
    everywhere = sharding.replicated(mesh)
    key = jax.random.key(seed)
    state = create_state(network, optimizer, key, everywhere, trained=phase.trained)
    if before is not None:
        state = started(state, before.best, graphs.evaluate, phase.trained)
    elif settings.model.weights:
        model = nnx.merge(graphs.evaluate, state.params, state.model_state)
        torchvision.load(model.features, settings.model.weights)
        variables = nnx.state(model, phase.trained, ...)
        params, model_state = jax.jit(lambda x: x, out_shardings=everywhere)(variables)
        state = replace(state, params=params, model_state=model_state)
    step = partial(
        train_step,
        graphdef=graphs.train,
        optimizer=optimizer,
        trained=phase.trained,
        settings=settings,
        weights=weights,
        components=principal_components(parts.train.images),
        key=jax.random.key(seed + 1),
    )
    train_call = make_train_call(
        step,
        Batch(parts.train.images, parts.train.labels),
        settings.data.placement,
        plan,
        seed,
        everywhere,
        sharding.split(mesh, axis=1),
    )
    observe = partial(observe_validation, settings.optimizer)
    return fit(state, train_call, evaluate, plan, folder, phase.name, observe)


def named_phases(settings: ClassificationConfig) -> list[Phase]:
    """The run's phases."""
    return phases(settings.transfer, PART)


def _errors(part: str, found: Outputs, labels: np.ndarray) -> dict[str, float]:
    """Top-1 and, of more than five classes, top-5 error."""
    errors = {
        f"{part}/top{k}_error": metrics.top_error(found.probabilities, labels, k) for k in (1, 5)
    }
    return {name: value for name, value in errors.items() if value is not None}
