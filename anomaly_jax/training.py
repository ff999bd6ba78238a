"""Trains a run's detectors on good images, and applies them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from jax.sharding import Mesh

from anomaly_jax import curves, metrics, thresholds
from anomaly_jax.config import AnomalyConfig
from anomaly_jax.data.image_set import ImageSet
from anomaly_jax.data.load import Parts
from anomaly_jax.detector import Detector
from anomaly_jax.predictor import Detections, Predictor
from anomaly_jax.thresholds import Thresholds
from anomaly_jax.train_step import train_step
from engine_jax import sharding
from engine_jax.feed import make_train_call
from engine_jax.loop import Fit, fit
from engine_jax.optimizer import make_optimizer, observe_validation
from engine_jax.plan import Plan
from engine_jax.run_folder import RunFolder
from engine_jax.state import TrainState, create_state, graph_defs

PART = "detector"  # the name of what is trained, in checkpoints/ and metrics.jsonl


@dataclass(frozen=True)
class TrainedDetector:
    """A run's detectors after training.

    Attributes:
        fitted: what came of training.
        good_only: thresholds from the validation part's good images.
        validation, test: what the best parameters say about these parts.
    """

    fitted: Fit
    good_only: Thresholds
    validation: Detections
    test: Detections


def train_detector(
    settings: AnomalyConfig, parts: Parts, plan: Plan, mesh: Mesh, folder: RunFolder
) -> TrainedDetector:
    """Trains the members together, or goes on where that was stopped, and applies the best ones.

    Raises:
        UserError: when the folder's checkpoint is of another architecture, or the loss is no longer finite.
    """
    build = partial(Detector, settings)
    graphs = graph_defs(build)
    optimizer = make_optimizer(settings.optimizer, plan.steps)
    everywhere = sharding.replicated(mesh)
    key = jax.random.key(settings.seed)
    state = create_state(build, optimizer, key, everywhere, stack=settings.members)
    step = partial(
        train_step,
        graphdef=graphs.train,
        optimizer=optimizer,
        settings=settings,
        key=jax.random.key(settings.seed + 1),
    )
    train_call = make_train_call(
        step,
        parts.train.images.images,
        settings.data.placement,
        plan,
        settings.seed,
        everywhere,
        sharding.split(mesh, axis=1),
    )
    predictor = Predictor(graphs.evaluate, settings, mesh)
    good, test = parts.validation.images, parts.test.images

    def evaluate(state: TrainState) -> dict[str, float]:
        variables = state.params, state.model_state
        losses = predictor.losses(*variables, good.images, settings.seed)
        found = predictor.detect(*variables, test.images)
        return {
            "validation/loss": float(losses.mean(dtype=np.float64)),
            **epoch_metrics(found, test, settings.thresholds.grid),
        }

    fitted = fit(
        state,
        train_call,
        evaluate,
        plan,
        folder,
        PART,
        partial(observe_validation, settings.optimizer),
    )
    variables = fitted.best.params, fitted.best.model_state
    validation = predictor.detect(*variables, good.images)
    rates = settings.thresholds
    good_only = thresholds.from_good(validation.maps, validation.scores, rates.pixel, rates.image)
    return TrainedDetector(fitted, good_only, validation, predictor.detect(*variables, test.images))


def epoch_metrics(found: Detections, test: ImageSet, grid: Sequence[float]) -> dict[str, float]:
    """Scores of the test part as training goes on, which choose nothing: areas under the ROC curves, and
    "test/DEFECT/THRESHOLD/RATE", the three accuracies over the good images and one defect's.
    """
    known = test.labelled
    areas = {
        "test/pixel_auroc": curves.count_at_thresholds(found.maps[known], test.masks[known]),
        "test/image_auroc": curves.count_at_thresholds(
            found.scores[:, None, None], test.faulty[:, None, None]
        ),
    }
    values = {name: float(curves.auroc(counts)) for name, counts in areas.items()}
    for i, defect in enumerate(test.defect_names):
        if i == 0 or not (known & (test.defects == i)).any():
            continue
        chosen = known & ((test.defects == 0) | (test.defects == i))
        rates = metrics.accuracies(found.maps[chosen], test.masks[chosen], grid)
        for t, threshold in enumerate(grid):
            for rate in ("recall", "precision", "accuracy"):
                values[f"test/{defect}/{threshold:g}/{rate}"] = float(rates[rate][t])
    # A score is NaN where there is nothing that it could be measured on.
    return {name: value for name, value in values.items() if not np.isnan(value)}
