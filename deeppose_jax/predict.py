"""Estimates poses in images, from Python (`load(workdir).predict(images)`) or from the command line.

python -m deeppose_jax.predict --workdir RUN IMAGE_OR_FOLDER... --out DIR [--box x0,y0,x1,y1]
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from jaxtyping import Float
from matplotlib.figure import Figure
from PIL import Image

from deeppose_jax.boxes import Box, whole_image
from deeppose_jax.cascade import Cascade
from deeppose_jax.config import SCHEMA, PoseConfig
from deeppose_jax.data.canvas import box_on_canvas, place
from deeppose_jax.plots import draw_skeleton
from deeppose_jax.predictor import map_to_image
from deeppose_jax.skeleton import LSP, Skeleton
from deeppose_jax.stages import as_stage, stage_network
from engine_jax import cli
from engine_jax.batches import fitting_batch_size, map_batches
from engine_jax.errors import UserError
from engine_jax.loop import best_variables
from engine_jax.plots import save
from engine_jax.prediction import AnyImage, predict_files, prediction_parser, rgb_arrays
from engine_jax.run_folder import RunFolder
from engine_jax.state import graph_defs

_BATCH = 32  # images a call, at most
_LARGEST_BOX = 10  # times the image's longer side


@dataclass(frozen=True)
class StagePose:
    """One stage's pose of a person.

    Attributes:
        joints: (x, y) in the image's pixels; (0, 0) is the centre of its top left pixel.
        scales: the expected absolute error of either coordinate, in the image's pixels; None from a head that predicts
            none.
    """

    joints: Float[np.ndarray, "k 2"]
    scales: Float[np.ndarray, " k"] | None


@dataclass(frozen=True)
class Prediction:
    """The pose of a person.

    Attributes:
        box: (x0, y0, x1, y1) of the person in the image's pixels, as given.
        stages: the pose after each stage of the cascade.
    """

    box: Box
    stages: tuple[StagePose, ...]

    @property
    def joints(self) -> Float[np.ndarray, "k 2"]:
        """The last stage's."""
        return self.stages[-1].joints

    @property
    def scales(self) -> Float[np.ndarray, " k"] | None:
        """The last stage's."""
        return self.stages[-1].scales


class PoseModel:
    """A trained run, ready for images.

    Attributes:
        settings: the run's configuration.
        skeleton: what the joints are.
        cascade: all stages, with the best variables.
    """

    def __init__(self, settings: PoseConfig, skeleton: Skeleton, cascade: Cascade):
        self.settings = settings
        self.skeleton = skeleton
        self.cascade = cascade

    def predict(
        self, images: Sequence[AnyImage] | AnyImage, boxes: Sequence[Box] | None = None
    ) -> list[Prediction]:
        """The pose of one person in each image.

        Args:
            images: uint8 RGB arrays [h, w, 3], PIL images or paths, of any sizes.
            boxes: (x0, y0, x1, y1) of the person in each image, in its pixels; by default the whole image, as in
                training on LSP.

        Raises:
            UserError: an array of another shape or type, a file that can't be read, or a box that is empty, outside of
                its image, or more than ten times as large.
        """
        arrays = rgb_arrays(images)
        if boxes is None:
            boxes = [whole_image(array.shape[1], array.shape[0]) for array in arrays]
        if len(boxes) != len(arrays):
            raise UserError(f"boxes: {len(boxes)} for {len(arrays)} images; accepted: one for each")
        if not arrays:
            return []
        inputs, to_image = self._canvases(arrays, boxes)
        batch_size = fitting_batch_size(len(arrays), _BATCH)
        stages = map_batches(lambda batch: self.cascade.predict(*batch), inputs, batch_size)
        by_stage = [
            (map_to_image(stage.joints, to_image), _in_image(stage.scales, to_image))
            for stage in stages
        ]
        return [
            Prediction(
                box,
                tuple(
                    StagePose(joints[i], None if scales is None else scales[i])
                    for joints, scales in by_stage
                ),
            )
            for i, box in enumerate(boxes)
        ]

    def _canvases(
        self, images: Sequence[np.ndarray], boxes: Sequence[Box]
    ) -> tuple[tuple[np.ndarray, np.ndarray], Float[np.ndarray, "n 2 3"]]:
        """The images' canvases [n, c, c, 3] with the boxes on them [n, 4], and the maps back to the images."""
        canvases, regions, maps = [], [], []
        for i, (image, box) in enumerate(zip(images, boxes, strict=True)):
            _check_box(box, image, f"boxes[{i}]")
            pixels, to_image = place(Image.fromarray(image), box, self.settings.data.canvas)
            canvases.append(pixels)
            regions.append(box_on_canvas(box, to_image))
            maps.append(to_image)
        return (np.stack(canvases), np.array(regions, np.float32)), np.stack(maps)


def _check_box(box: Box, image: np.ndarray, name: str) -> None:
    """Raises a UserError if a box is empty, shows nothing of its image, or is far larger than it."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = box
    most = _LARGEST_BOX * max(width, height)
    if not (x1 > x0 and y1 > y0):
        raise UserError(f"{name}: {box}; accepted: (x0, y0, x1, y1) with x0 < x1 and y0 < y1")
    if not (x1 - x0 <= most and y1 - y0 <= most):
        raise UserError(
            f"{name}: {box}; accepted: at most {most} pixels, {_LARGEST_BOX} times the longer side of the image"
        )
    if not (x1 > -0.5 and y1 > -0.5 and x0 < width - 0.5 and y0 < height - 0.5):
        raise UserError(f"{name}: {box} is outside of its image, {width}x{height} pixels")


def _in_image(
    scales: Float[np.ndarray, "n k"] | None, to_image: Float[np.ndarray, "n 2 3"]
) -> Float[np.ndarray, "n k"] | None:
    return None if scales is None else scales * to_image[:, 0, 0, None]


def load(workdir: str | Path) -> PoseModel:
    """The model of a run: its best variables.

    Raises:
        UserError: when the folder holds no run, one of another task, one without a checkpoint yet, or another
            architecture's checkpoint.
    """
    folder = RunFolder(workdir)
    settings = folder.read_settings(SCHEMA)
    skeleton = LSP
    stages = []
    for number in range(1, settings.stages + 1):
        stage = settings.stage(number)
        build = partial(stage_network, stage, skeleton.num_joints)
        trained = stage.transfer.trained_at_end
        best = best_variables(folder, stage.name, build, trained=trained)
        network = nnx.merge(graph_defs(build).evaluate, best.params, best.model_state)
        stages.append(as_stage(network, stage))
    return PoseModel(settings, skeleton, Cascade(stages, settings.cascade, skeleton))


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
    command = prediction_parser("deeppose_jax.predict", (__doc__ or "").splitlines()[0])
    command.add_argument(
        "--box",
        type=_box,
        action=cli.Once,
        help="x0,y0,x1,y1 of the person, for all images; default: the whole image",
    )
    return command


if __name__ == "__main__":
    cli.run(main, parser())
