"""Trains and evaluates a pose run: stage 1, then its refiners, one stage after the other."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from deeppose_jax.config import SCHEMA, PoseConfig
from deeppose_jax.data.labels import checked_labels
from deeppose_jax.data.load import load_parts, rendered_size
from deeppose_jax.data.parts import Parts, check_parts, check_placed
from deeppose_jax.data_config import GIVEN
from deeppose_jax.epoch_metrics import check_choice
from deeppose_jax.mesh import make_mesh
from deeppose_jax.report import write_report
from deeppose_jax.skeleton import Skeleton
from deeppose_jax.skeleton_file import check_skeleton, named_skeleton, write_skeleton
from deeppose_jax.training import (
    TrainedStage,
    check_flips,
    check_networks,
    check_plans,
    train_stage,
)
from engine_jax.experiment import Experiment, open_experiment


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
    # What can be known before images are rendered or read is; a COCO file names its own joints.
    if settings.data.dataset != "coco":
        skeleton = named_skeleton(settings.data.skeleton)
        mesh = make_mesh(settings, skeleton.num_joints)
        check_networks(settings, skeleton)
        if (size := rendered_size(settings.data)) is not None:
            check_plans(settings, size, mesh)
    return _run(experiment, load_parts(settings.data, settings.seed))


def train(
    parts: Parts,
    skeleton: Skeleton,
    config: Mapping[str, Any],
    workdir: str | Path,
    redraw: bool = False,
    pictures: bool = True,
) -> dict[str, Any]:
    """As `train_and_evaluate`, on data that a program made.

    A run is resumed with the same data only if the program gives the same again: they aren't stored.

    Args:
        parts: see `deeppose_jax.data`; their canvases are of `config.data.canvas` pixels a side.
        skeleton: what their joints are.
        config: the values of configs/pose.py, of which `config.data` says no more than how the data are held.
        workdir: the run's folder.
        redraw: draw the pictures of a finished run again.
        pictures: draw pictures of the results.

    Returns:
        What results.json holds.

    Raises:
        UserError: for input that can't be used.
    """
    given = {**config, "data": {**config["data"], "dataset": GIVEN}}
    experiment = open_experiment(SCHEMA, given, workdir, redraw, pictures)
    if experiment.results is not None:
        return experiment.results
    data = experiment.settings.data
    check_parts(parts, skeleton, data.canvas)
    check_placed(parts, data.placement)
    return _run(experiment, checked_labels(replace(parts, skeleton=skeleton)))


def _run(experiment: Experiment[PoseConfig], parts: Parts) -> dict[str, Any]:
    settings, skeleton = experiment.settings, parts.skeleton
    check_skeleton(experiment.folder.path, skeleton)
    check_flips(settings, skeleton)
    mesh = make_mesh(settings, skeleton.num_joints)
    check_networks(settings, skeleton)
    check_plans(settings, len(parts.train), mesh)
    check_choice(parts, settings)
    with experiment.started(settings.data.dataset, parts, mesh) as run:
        if jax.process_index() == 0:
            write_skeleton(run.folder.path, skeleton)
        stages: list[TrainedStage] = []
        for number in range(1, settings.stages + 1):
            stages.append(train_stage(run, number, stages))
        return write_report(run, stages)
