"""Trains and evaluates an image classification run."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from classify_jax.config import SCHEMA
from classify_jax.data.load import load_parts
from classify_jax.networks import check_network
from classify_jax.report import write_report
from classify_jax.training import NAME, train_classifier
from engine_jax.experiment import open_experiment
from engine_jax.plan import make_plan
from engine_jax.sharding import device_mesh


def train_and_evaluate(
    config: Mapping[str, Any], workdir: str | Path, redraw: bool = False, pictures: bool = True
) -> dict[str, Any]:
    """Runs the experiment in `workdir`, resuming it if it was interrupted.

    Args:
        config: the values of configs/classify.py.
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
    mesh = device_mesh(settings.train.batch_size)
    # What doesn't fit the network is known before images are read.
    check_network(settings.model, settings.transfer)
    parts = load_parts(settings.data, settings.seed)
    plan = make_plan(settings.train, settings.evaluation.every, len(parts.train), mesh)
    settings.transfer.phases(NAME, plan)  # Raises what would stop training later.
    with experiment.started(settings.data.title, parts, mesh) as run:
        logging.info("%d classes", len(parts.class_names))
        return write_report(run, train_classifier(run, plan))
