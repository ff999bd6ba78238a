"""Trains and evaluates an image classification run."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from classify_jax import report
from classify_jax.config import ClassificationConfig
from classify_jax.data.load import load_parts
from classify_jax.networks import check_network
from classify_jax.training import train_classifier
from convnets_jax.phases import plans
from engine_jax.config import from_mapping
from engine_jax.plan import make_plan
from engine_jax.run_folder import RunFolder
from engine_jax.sharding import batch_mesh


def train_and_evaluate(config: Mapping[str, Any], workdir: str | Path) -> dict[str, Any]:
    """Does what a config says in a run's folder, or goes on where it was stopped.

    Args:
        config: the values of configs/classify.py.
        workdir: the run's folder.

    Returns:
        What results.json holds.

    Raises:
        UserError: for input that can't be used.
    """
    settings = from_mapping(ClassificationConfig, config)
    folder = RunFolder(workdir)
    folder.check(config)
    if (finished := folder.read_results()) is not None:
        logging.info("%s: this run is finished", folder.path)
        return finished

    mesh = batch_mesh(settings.train.batch_size, settings.evaluation.batch_size)
    # What doesn't fit the network is known before images are read.
    check_network(settings.model, settings.transfer)
    parts = load_parts(settings.data, settings.seed)
    sizes = ", ".join(f"{size} {name}" for name, size in parts.sizes().items())
    logging.info("%s: %s images of %d classes", settings.data.title, sizes, len(parts.class_names))
    plans(settings.transfer, make_plan(settings.train, settings.evaluation.every, len(parts.train)))
    folder.start(config)
    trained = train_classifier(settings, parts, mesh, folder)
    return report.write_report(folder, settings, parts, trained)
