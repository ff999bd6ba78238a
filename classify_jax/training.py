"""Trains a run's network, and applies the best parameters."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from classify_jax import metrics
from classify_jax.augment import principal_components
from classify_jax.config import ClassificationConfig
from classify_jax.data.image_set import ImageSet
from classify_jax.data.load import Parts
from classify_jax.losses import class_weights
from classify_jax.networks import build, published_weights
from classify_jax.predictor import Outputs, Predictor
from classify_jax.train_step import Batch, train_step
from classify_jax.views import views
from engine_jax import sharding
from engine_jax.experiment import Run
from engine_jax.feed import make_train_call
from engine_jax.loop import Fit, TrainCall, fit
from engine_jax.optimizer import make_optimizer, update_plateau
from engine_jax.phases import Phase
from engine_jax.plan import Plan
from engine_jax.randomness import entropy_for, key_for
from engine_jax.state import TrainState, Variables, create_state, graph_defs

NAME = "classifier"  # of what is trained, in checkpoints/ and metrics.jsonl


@dataclass(frozen=True)
class TrainedClassifier:
    """A run's network after training.

    Attributes:
        fitted: result of training.
        test: outputs for the test part, averaged over the config's views.
        single: outputs for its centre crops alone.
    """

    fitted: Fit
    test: Outputs
    single: Outputs


def train_classifier(run: Run[ClassificationConfig, Parts], plan: Plan) -> TrainedClassifier:
    """Trains the network, resuming if that was interrupted, and applies the best parameters.

    Raises:
        UserError: when weights or the folder's checkpoint are of another architecture, or the loss is no longer finite.
    """
    settings, parts, seed = run.settings, run.parts, run.settings.seed
    network = partial(build, settings.model, len(parts.class_names))
    weights = class_weights(parts.train.counts, settings.loss.class_weights)
    components = np.zeros((3, 3), np.float32)
    if settings.augment.colour:  # Images may have to be decoded for it.
        components = principal_components(parts.train.images)
    everywhere = sharding.replicated(run.mesh)

    def begin(phase: Phase) -> tuple[TrainState, TrainCall]:
        optimizer = make_optimizer(
            settings.optimizer, phase.plan.steps, dict(settings.transfer.rates)
        )
        key = key_for(seed, phase.name, "parameters")
        state = create_state(network, optimizer, key, everywhere, trained=phase.trained)
        step = partial(
            train_step,
            graphdef=graph_defs(network, phase.trained).train,
            optimizer=optimizer,
            trained=phase.trained,
            settings=settings,
        )
        fixed = {"weights": weights, "components": components}
        train_call = make_train_call(
            step,
            Batch(parts.train.images, parts.train.labels),
            settings.data.placement,
            phase.plan,
            entropy_for(seed, phase.name, "order"),
            everywhere,
            sharding.split(run.mesh, axis=1),
            balance=parts.train.labels if settings.data.balanced else None,
            fixed=fixed | {"key": key_for(seed, phase.name, "steps")},
        )
        return state, train_call

    def initialise(state: TrainState) -> TrainState:
        if not settings.model.weights:
            return state
        return state.with_variables(published_weights(settings.model))

    evaluation, size = settings.evaluation, settings.model.input_size
    predictor = Predictor(graph_defs(network).evaluate, size, weights, run.mesh)
    centre = views(settings.data.size, size, "centre", mirror=False)
    chosen = views(settings.data.size, size, evaluation.crops, evaluation.mirror)
    # As many training images as validation ones: enough to see how far the two are apart.
    seen = parts.train.sample(len(parts.validation), seed)

    def outputs(variables: Variables, part: ImageSet, shown: list = centre) -> Outputs:
        return predictor(variables, part.images, part.labels, shown, evaluation.batch_size)

    def evaluate(variables: Variables) -> dict[str, float]:
        found = outputs(variables, parts.validation)
        loss = {"validation/loss": float(found.losses.mean(dtype=np.float64))}
        if not np.isfinite(loss["validation/loss"]):
            return loss
        return {
            **loss,
            **_errors("validation", found, parts.validation.labels),
            **_errors("train", outputs(variables, seen), seen.labels),
        }

    fitted = fit(
        settings.transfer.phases(NAME, plan),
        begin,
        evaluate,
        run.folder,
        initialise=initialise,
        after_evaluation=partial(update_plateau, settings.optimizer),
    )
    single = outputs(fitted.best, parts.test)
    averaged = single if chosen == centre else outputs(fitted.best, parts.test, chosen)
    return TrainedClassifier(fitted, averaged, single)


def _errors(part: str, found: Outputs, labels: np.ndarray) -> dict[str, float]:
    """Top-1 and, of more than five classes, top-5 error."""
    errors = metrics.top_errors(found.probabilities, labels)
    return {f"{part}/{name}": value for name, value in errors.items() if value is not None}
