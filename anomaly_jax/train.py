"""Trains and evaluates an anomaly detection run: detectors from good images, thresholds from held-out good ones."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anomaly_jax import report
from anomaly_jax.config import AnomalyConfig
from anomaly_jax.data.load import load_parts
from anomaly_jax.training import train_detector
from engine_jax.config import from_mapping
from engine_jax.plan import make_plan
from engine_jax.run_folder import RunFolder
from engine_jax.sharding import batch_mesh


def train_and_evaluate(config: Mapping[str, Any], workdir: str | Path) -> dict[str, Any]:
    """Does what a config says in a run's folder, or goes on where it was stopped.

    Args:
        config: the values of configs/anomaly.py.
        workdir: the run's folder.

    Returns:
        What results.json holds.

    Raises:
        UserError: for input that can't be used.
    """
    settings = from_mapping(AnomalyConfig, config)
    folder = RunFolder(workdir)
    folder.check(config)
    if (finished := folder.read_results()) is not None:
        logging.info("%s: this run is finished", folder.path)
        return finished

    mesh = batch_mesh(settings.train.batch_size, settings.evaluation.batch_size)
    parts = load_parts(settings.data, settings.model.input_size, settings.seed)
    sizes = ", ".join(f"{size} {name}" for name, size in parts.sizes().items())
    logging.info("%s: %s images", settings.data.name, sizes)
    plan = make_plan(settings.train, settings.evaluation.every, len(parts.train.images))
    folder.start(config)
    trained = train_detector(settings, parts, plan, mesh, folder)
    return report.write_report(folder, settings, parts, trained)
