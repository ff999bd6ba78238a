"""Trains and evaluates a pose run: stage 1, then its refiners, one stage after the other."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from deeppose_jax import codec, metrics, report
from deeppose_jax.config import PoseConfig
from deeppose_jax.data.load import Parts, load_parts
from deeppose_jax.predictor import to_image_pixels
from deeppose_jax.skeleton import LSP
from deeppose_jax.stages import Run, TrainedStage, check, make_mesh, train_stage
from engine_jax.config import from_mapping
from engine_jax.run_folder import RunFolder

SKELETON = LSP


def train_and_evaluate(config: Mapping[str, Any], workdir: str | Path) -> dict[str, Any]:
    """Does what a config says in a run's folder, or goes on where it was stopped.

    Args:
        config: the values of configs/pose.py.
        workdir: the run's folder.

    Returns:
        What results.json holds.

    Raises:
        UserError: for input that can't be used.
    """
    settings = from_mapping(PoseConfig, config)
    folder = RunFolder(workdir)
    folder.check(config)
    if (finished := folder.read_results()) is not None:
        logging.info("%s: this run is finished", folder.path)
        return finished

    mesh = make_mesh(settings, SKELETON)
    parts = load_parts(settings.data, settings.seed)
    sizes = ", ".join(f"{size} {name}" for name, size in parts.sizes().items())
    logging.info("%s: %s images", settings.data.dataset, sizes)
    check(settings, SKELETON, parts, mesh)
    folder.start(config)
    run = Run(settings, SKELETON, parts, mesh, folder)
    stages: list[TrainedStage] = []
    for number in range(1, settings.stages + 1):
        stages.append(train_stage(run, number, stages))
    floor = mean_pose_joints(parts)
    return report.write_report(folder, settings, parts, SKELETON, stages, floor)


def mean_pose_joints(parts: Parts) -> Float[np.ndarray, "n k 2"]:
    """The floor: a mean pose in stage 1's boxes, drawn on every test image; image pixels.

    The mean is over the training images of the data set that is tested: LSP Extended's poses, in boxes around their
    joints, would lower the floor.
    """
    train, test = parts.train.poses, parts.test.poses
    own = slice(len(train) - parts.added)
    mean = metrics.mean_pose(
        np.asarray(codec.encode(train.joints, train.boxes))[own], train.labelled[own]
    )
    drawn = codec.decode(
        jnp.broadcast_to(jnp.asarray(mean, jnp.float32), test.joints.shape), test.boxes
    )
    return to_image_pixels(np.asarray(drawn), test)
