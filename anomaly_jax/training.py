"""Trains a run's detectors on good images, chooses thresholds by others, and applies them to the test images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from anomaly_jax import curves, metrics, thresholds
from anomaly_jax.config import SCHEMA, AnomalyConfig
from anomaly_jax.data.image_set import ImageSet
from anomaly_jax.data.load import Part, Parts
from anomaly_jax.detector import Detector
from anomaly_jax.folds import Batch, assign_folds
from anomaly_jax.predictor import Detections, Predictor
from anomaly_jax.thresholds import Promise, Thresholds
from anomaly_jax.train_step import train_step
from anomaly_jax.whole_images import PartDetections, detect_part
from engine_jax import sharding
from engine_jax.config import differences
from engine_jax.errors import UserError
from engine_jax.experiment import Run
from engine_jax.feed import make_train_call
from engine_jax.loop import Fit, TrainCall, adopt, best_variables, fit
from engine_jax.optimizer import make_optimizer, update_plateau
from engine_jax.phases import Phase
from engine_jax.plan import Plan
from engine_jax.randomness import entropy_for, key_for
from engine_jax.run_folder import RunFolder
from engine_jax.state import (
    TrainState,
    Variables,
    abstract_variables,
    create_state,
    graph_defs,
)

NAME = "detector"  # of what is trained, in checkpoints/ and metrics.jsonl

# The fields of a configuration that say which images a detector was trained on, and which networks it has.
_OF_TRAINING = (
    "seed",
    "members",
    "method",
    "model",
    "segmenter",
    "embedding",
    "padim",
    "patchcore",
)


@dataclass(frozen=True)
class TrainedDetector:
    """A run's detectors after training.

    Attributes:
        fitted: result of training.
        good_only: thresholds from the validation part's good images.
        promise: what they promise.
        validation: of the best variables, on the validation part, or in cross-fitting of the members that hold an image
            out, on all good images.
        test: of the best variables, on the test part.
    """

    fitted: Fit
    good_only: Thresholds
    promise: Promise
    validation: PartDetections
    test: PartDetections


def train_detector(run: Run[AnomalyConfig, Parts], plan: Plan) -> TrainedDetector:
    """Trains all members together, resuming if that was interrupted, and applies the best ones.

    Raises:
        UserError: when the folder's checkpoint is of another architecture, or the loss is no longer finite.
    """
    settings, parts, seed = run.settings, run.parts, run.settings.seed
    build = partial(Detector, settings.detector)
    folds = None
    if settings.thresholds.calibration == "cross_fit":
        folds = assign_folds(len(parts.train), settings.members, seed)
    squares, numbers = parts.train.squares()
    square_folds = None if folds is None else folds[numbers]
    graphs = graph_defs(build)
    everywhere = sharding.replicated(run.mesh)

    def begin(phase: Phase) -> tuple[TrainState, TrainCall]:
        optimizer = make_optimizer(settings.optimizer, phase.plan.steps)
        key = key_for(seed, phase.name, "parameters")
        state = create_state(build, optimizer, key, everywhere, stack=settings.members)
        step = partial(
            train_step,
            graphdef=graphs.train,
            optimizer=optimizer,
            settings=settings,
        )
        train_call = make_train_call(
            step,
            Batch(squares, square_folds),
            settings.data.placement,
            phase.plan,
            entropy_for(seed, phase.name, "order"),
            everywhere,
            sharding.split(run.mesh, axis=1),
            balance=square_folds,  # A batch that is all of one fold would leave a member nothing.
            fixed={"key": key_for(seed, phase.name, "steps")},
        )
        return state, train_call

    predictor = Predictor(graphs.evaluate, settings, run.mesh)
    good, test = parts.validation, parts.test
    good_squares = squares if good is parts.train else good.squares()[0]
    faults_key = key_for(seed, NAME, "validation")

    def evaluate(variables: Variables) -> dict[str, float]:
        losses = predictor.losses(variables, good_squares, faults_key, square_folds)
        loss = {"validation/loss": float(losses.mean(dtype=np.float64))}
        if not np.isfinite(loss["validation/loss"]):
            return loss
        found = detect(variables, test).found
        return {**loss, **epoch_metrics(found, test.images, settings.thresholds.grid)}

    def detect(variables: Variables, part: Part, folds: np.ndarray | None = None) -> PartDetections:
        return detect_part(
            lambda squares, i: predictor.detect(
                variables, squares, None if folds is None else folds[i]
            ),
            part,
            settings.scoring,
            settings.evaluation.batch_size,
            own_scores=False,
        )

    if settings.start:
        like = abstract_variables(build, everywhere, settings.members)
        fitted = adopt(run.folder, NAME, like, lambda: started_variables(settings))
    else:
        fitted = fit(
            [Phase(NAME, plan)],
            begin,
            evaluate,
            run.folder,
            after_evaluation=partial(update_plateau, settings.optimizer),
        )
    validation = detect(fitted.best, good, folds)
    return calibrated(run, fitted, validation, detect(fitted.best, test))


def started_variables(settings: AnomalyConfig) -> Variables:
    """The trained variables of the run `config.start`.

    Raises:
        UserError: when it holds none, or those of other networks.
    """
    build = partial(Detector, settings.detector)
    return best_variables(RunFolder(settings.start), NAME, build, stack=settings.members)


def check_start(settings: AnomalyConfig) -> None:
    """Checks that a run can take the detector of the run `config.start`, which is of the same images and networks.

    Otherwise its thresholds might come from images that it was trained on.

    Raises:
        UserError: naming what differs.
    """
    if not settings.start:
        return
    source = RunFolder(settings.start).read_settings(SCHEMA)
    data = replace(source.data, good="", skip_unreadable=settings.data.skip_unreadable)
    calibration = source.thresholds.calibration
    if settings.data.good:
        calibration = settings.thresholds.calibration
    like = replace(
        settings,
        **{name: getattr(source, name) for name in _OF_TRAINING},
        data=data,
        thresholds=replace(settings.thresholds, calibration=calibration),
    )
    given = replace(settings, data=replace(settings.data, good=""))
    if changed := differences(like, given):
        raise UserError(f"{settings.start}: holds a run of another config ({'; '.join(changed)})")


def calibrated(
    run: Run[AnomalyConfig, Parts], fitted: Fit, validation: PartDetections, test: PartDetections
) -> TrainedDetector:
    """The detector with its thresholds from good images.

    Args:
        run: what it was trained with.
        fitted: result of training.
        validation: of the validation part's images.
        test: of the test part's.
    """
    rates = run.settings.thresholds
    good_only, promise = thresholds.from_good(
        validation.maps, validation.found.scores, rates.pixel, rates.image
    )
    return TrainedDetector(fitted, good_only, promise, validation, test)


def epoch_metrics(found: Detections, test: ImageSet, grid: Sequence[float]) -> dict[str, float]:
    """Scores of the test part during training, by which nothing is chosen: areas under the ROC curves, and
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
