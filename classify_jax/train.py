"""Trains and evaluates an image classification run."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from classify_jax.config import SCHEMA, ClassificationConfig
from classify_jax.data.load import load_parts, rendered_size
from classify_jax.networks import check_network
from classify_jax.report import write_report
from classify_jax.training import NAME, train_classifier
from engine_jax.experiment import open_experiment
from engine_jax.plan import Plan, make_plan
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
    if (size := rendered_size(settings.data)) is not None:
        _plan(settings, size, mesh)
    parts = load_parts(settings.data, settings.seed)
    plan = _plan(settings, len(parts.train), mesh)
    with experiment.started(settings.data.title, parts, mesh) as run:
        logging.info("%d classes", len(parts.class_names))
        return write_report(run, train_classifier(run, plan))


def _plan(settings: ClassificationConfig, size: int, mesh: Mesh) -> Plan:
    """The plan for a training part of `size` images, whose phases are known to be possible."""
    plan = make_plan(settings.train, settings.evaluation.every, size, mesh)
    settings.transfer.phases(NAME, plan)
    return plan
