"""Fits a run's feature detector to good images, chooses thresholds by cross-fitting or others, and applies it."""

import time
from dataclasses import replace
from functools import partial

import jax
import numpy as np
from flax import nnx

from anomaly_jax.config import AnomalyConfig
from anomaly_jax.data.load import Part, Parts
from anomaly_jax.embedding import Embedding
from anomaly_jax.feature_detector import (
    FeatureDetector,
    abstract_detector,
    feature_detect_step,
    fit_feature_detector,
)
from anomaly_jax.folds import assign_folds
from anomaly_jax.training import NAME, TrainedDetector, calibrated
from anomaly_jax.whole_images import PartDetections, detect_part, in_order
from engine_jax import checkpoint, sharding
from engine_jax.batches import map_batches
from engine_jax.experiment import Run
from engine_jax.loop import adopt
from engine_jax.randomness import key_for
from engine_jax.run_folder import RunFolder
from engine_jax.state import Variables

_PATCHES = "model_state.memory.patches"  # in a checkpoint


def check_embedding(settings: AnomalyConfig) -> None:
    """Raises a UserError if the network has no such blocks, its images are too small, or its weights can't be read."""
    abstract_detector(settings, patches=1)
    _embedding(settings)


def fit_detector(run: Run[AnomalyConfig, Parts]) -> TrainedDetector:
    """Fits the detector to the good images, in minutes, and applies it; an interrupted run begins again.

    With `thresholds.calibration` "cross_fit" as many detectors as `members` are fitted to all good images but a fold
    each, which they score for the thresholds; the detector that is kept is fitted to all of them.
    """
    settings, parts, seed = run.settings, run.parts, run.settings.seed
    start = time.monotonic()
    embedding, good = _embedding(settings), parts.train
    squares, numbers = good.squares()
    everywhere = sharding.replicated(run.mesh)
    step = partial(_applied, settings=settings, run=run)

    def fitted_to(images: np.ndarray, name: str) -> FeatureDetector:
        return fit_feature_detector(embedding, images, settings, key_for(seed, NAME, name))

    detector = fitted_to(squares, "memory")
    variables = sharding.place(_split(detector)[1], everywhere)
    fitted = adopt(run.folder, NAME, variables, lambda: variables)
    if settings.thresholds.calibration == "cross_fit":
        folds = assign_folds(len(good), settings.members, seed)
        found = []
        for fold in range(settings.members):
            part = fitted_to(squares[folds[numbers] != fold], f"memory_{fold}")
            found.append(step(_split(part), good.chosen(np.flatnonzero(folds == fold))))
        validation = in_order(found, folds)
    else:
        validation = step(_split(detector), parts.validation)
    test = step((_split(detector)[0], fitted.best), parts.test)
    fitted = replace(fitted, seconds=time.monotonic() - start)
    return calibrated(run, fitted, validation, test)


def stored_detector(folder: RunFolder, settings: AnomalyConfig) -> tuple[nnx.GraphDef, Variables]:
    """The detector that a run fitted.

    Raises:
        UserError: when there is none, or it is of another architecture.
    """
    best = folder.checkpoints / NAME / "best"
    patches = 0
    if settings.method == "patchcore":
        (name,) = [name for name in checkpoint.names(best, 0) if name.startswith(_PATCHES)]
        patches = checkpoint.restore_leaf(best, name, 0).shape[0]
    graphdef, like = _split(abstract_detector(settings, patches))
    everywhere = sharding.replicated(sharding.device_mesh())
    placed = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere), like
    )
    return graphdef, checkpoint.restore(best, placed, 0)


def _embedding(settings: AnomalyConfig) -> Embedding:
    key = key_for(settings.seed, NAME, "parameters")
    embedding = Embedding(settings.embedding, rngs=nnx.Rngs(key))
    embedding.load_weights()
    return embedding


def _split(detector: FeatureDetector) -> tuple[nnx.GraphDef, Variables]:
    graphdef, params, others = nnx.split(detector, nnx.Param, ...)
    return graphdef, Variables(params, others)


def _applied(
    detector: tuple[nnx.GraphDef, Variables],
    part: Part,
    *,
    settings: AnomalyConfig,
    run: Run[AnomalyConfig, Parts],
) -> PartDetections:
    graphdef, variables = detector
    step = partial(feature_detect_step, graphdef=graphdef, scoring=settings.scoring)
    detect = jax.jit(step, out_shardings=sharding.replicated(run.mesh))
    batch_size, batches = settings.evaluation.batch_size, sharding.split(run.mesh)
    return detect_part(
        lambda squares, _: map_batches(partial(detect, variables), squares, batch_size, batches),
        part,
        settings.scoring,
        batch_size,
        own_scores=settings.own_scores,
    )
