"""Trains and evaluates an anomaly detection run: detectors from good images, thresholds from held-out good ones."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from anomaly_jax.config import SCHEMA
from anomaly_jax.data.load import load_parts, rendered_size
from anomaly_jax.detector import Detector
from anomaly_jax.feature_training import check_embedding, fit_detector
from anomaly_jax.report import write_report
from anomaly_jax.training import check_start, train_detector
from engine_jax.experiment import open_experiment
from engine_jax.plan import make_plan
from engine_jax.sharding import device_mesh
from engine_jax.state import abstract_model, check_memory


def train_and_evaluate(
    config: Mapping[str, Any], workdir: str | Path, redraw: bool = False, pictures: bool = True
) -> dict[str, Any]:
    """Runs the experiment in `workdir`, resuming it if it was interrupted.

    Args:
        config: the values of configs/anomaly.py.
        workdir: the run's folder.
        redraw: draw the pictures of a finished run again.
        pictures: draw pictures of the results.

    Returns:
        What results.json holds.

    Raises:
        UserError: for input that can't be used.
    """
    experiment = open_experiment(SCHEMA, config, workdir, redraw, pictures)
    if experiment.results is not None:
        return experiment.results
    settings = experiment.settings
    check_start(settings)
    mesh = device_mesh(settings.train.batch_size)
    make = partial(make_plan, settings.train, settings.evaluation.every, mesh=mesh)
    # What can be known before images are rendered or read is.
    if settings.by_features:
        check_embedding(settings)
    else:
        detector = abstract_model(partial(Detector, settings.detector))
        of_members = f" of config.members={settings.members}" if settings.members > 1 else ""
        check_memory(detector, f"config.model{of_members}", settings.members)
        if (size := rendered_size(settings.data)) is not None:
            make(size)
    cross_fit = settings.thresholds.calibration == "cross_fit"
    parts = load_parts(settings.data, settings.model.input_size, settings.seed, cross_fit)
    plan = None if settings.by_features else make(parts.train.square_count)
    with experiment.started(settings.data.name, parts, mesh) as run:
        trained = fit_detector(run) if plan is None else train_detector(run, plan)
        return write_report(run, trained)
