"""Estimates poses in images from the command line; in Python, `load().predict(images)`.

python -m deeppose_jax.predict [--workdir RUN_OR_FILE] IMAGE_OR_FOLDER... --out DIR [--box x0,y0,x1,y1]
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from deeppose_jax.boxes import Box
from deeppose_jax.plots import draw_skeleton
from deeppose_jax.pose_model import PoseModel, Prediction, load
from deeppose_jax.skeleton import Skeleton
from engine_jax import cli
from engine_jax.plots import save
from engine_jax.prediction import predict_files, prediction_parser


def main(args: argparse.Namespace) -> None:
    """Writes predictions.json and a picture with the pose for each image."""

    def predict(model: PoseModel, images: list[np.ndarray]) -> list[Prediction]:
        return model.predict(images, None if args.box is None else [args.box] * len(images))

    entries = predict_files(
        args,
        load,
        predict,
        _write_image,
        lambda model: {"joint_names": list(model.skeleton.joints)},
    )
    print(f"{len(entries)} poses in {Path(args.out) / 'predictions.json'}, with one picture each")


def _write_image(
    model: PoseModel, image: np.ndarray, found: Prediction, stem: Path
) -> dict[str, Any]:
    save(_overlay(image, found.joints, model.skeleton), f"{stem}.png")
    return {
        "box": list(found.box),
        "joints": found.joints.round(3).tolist(),
        "scales": None if found.scales is None else found.scales.round(3).tolist(),
    }


def _overlay(image: np.ndarray, joints: np.ndarray, skeleton: Skeleton) -> Figure:
    """The pose drawn on its image, at least 600 pixels on the longer side."""
    height, width = image.shape[:2]
    zoom = max(1.0, 600 / max(height, width))
    figure = Figure(figsize=(width * zoom / 150, height * zoom / 150))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(image)
    axes.axis("off")
    draw_skeleton(axes, joints, np.ones(len(joints), bool), skeleton)
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    return figure


def _box(text: str) -> Box:
    """x0,y0,x1,y1 on the command line."""
    try:
        x0, y0, x1, y1 = (cli.finite(part) for part in text.split(","))
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(f"{text!r}; accepted: x0,y0,x1,y1 in pixels") from None
    return x0, y0, x1, y1


def parser() -> argparse.ArgumentParser:
    """The program's command line."""
    command = prediction_parser(
        "deeppose_jax.predict",
        (__doc__ or "").splitlines()[0],
        default_model="the one that comes with the package",
    )
    command.add_argument(
        "--box",
        type=_box,
        action=cli.Once,
        help="x0,y0,x1,y1 of the person, for all images; default: the whole image",
    )
    return command


if __name__ == "__main__":
    cli.run(main, parser())
