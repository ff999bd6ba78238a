"""Trains and evaluates a pose run: stage 1, then its refiners, one stage after the other."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deeppose_jax.config import SCHEMA
from deeppose_jax.data.load import load_parts, rendered_size
from deeppose_jax.mesh import make_mesh
from deeppose_jax.report import write_report
from deeppose_jax.skeleton import LSP
from deeppose_jax.training import TrainedStage, check_networks, check_plans, train_stage
from engine_jax.experiment import open_experiment


def train_and_evaluate(
    config: Mapping[str, Any], workdir: str | Path, redraw: bool = False, pictures: bool = True
) -> dict[str, Any]:
    """Runs the experiment in `workdir`, resuming it if it was interrupted.

    Args:
        config: the values of configs/pose.py.
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
    # What can be known before images are rendered or read is.
    mesh = make_mesh(settings, LSP.num_joints)
    check_networks(settings, LSP)
    if (size := rendered_size(settings.data)) is not None:
        check_plans(settings, size, mesh)
    parts = load_parts(settings.data, settings.seed)
    check_plans(settings, len(parts.train), mesh)
    with experiment.started(settings.data.dataset, parts, mesh) as run:
        stages: list[TrainedStage] = []
        for number in range(1, settings.stages + 1):
            stages.append(train_stage(run, number, stages))
        return write_report(run, stages)
