"""Poses on one's own images, from Python (`load(workdir).predict(images)`) or from the command line.

python -m deeppose_jax.predict --workdir RUN IMAGE_OR_FOLDER... --out DIR [--box x0,y0,x1,y1]
"""

import argparse
import json
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from flax import nnx
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure
from PIL import Image

from deeppose_jax.boxes import Box, whole_image
from deeppose_jax.cascade import Cascade, as_stage, stage_network
from deeppose_jax.config import PoseConfig
from deeppose_jax.data.canvas import box_on_canvas, decode, place
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.plots import draw_skeleton
from deeppose_jax.predictor import to_image_pixels
from deeppose_jax.skeleton import LSP, Skeleton
from deeppose_jax.stages import stage_phases
from engine_jax import cli
from engine_jax.config import from_mapping
from engine_jax.errors import UserError
from engine_jax.images import check_rgb, decoded, image_paths
from engine_jax.loop import best_variables
from engine_jax.order import padded_batches
from engine_jax.plots import save
from engine_jax.run_folder import RunFolder
from engine_jax.state import graph_defs

_BATCH = 32  # images a call, at most


class PoseModel:
    """A trained run, ready for images.

    Attributes:
        settings: the run's configuration.
        skeleton: what the joints are.
        cascade: all stages, with the best parameters.
    """

    def __init__(self, settings: PoseConfig, skeleton: Skeleton, cascade: Cascade):
        self.settings = settings
        self.skeleton = skeleton
        self.cascade = cascade

    def predict(
        self, images: Sequence[UInt8[np.ndarray, "h w 3"]], boxes: Sequence[Box] | None = None
    ) -> Float[np.ndarray, "n k 2"]:
        """Joints (x, y) in each image's own pixels; (0, 0) is the centre of its top left pixel.

        Args:
            images: RGB images of any sizes.
            boxes: (x0, y0, x1, y1) of the person in each image, in its pixels; by default the whole image, as
                the model was trained on LSP.

        Raises:
            UserError: an image of another shape or type, or a box without extent.
        """
        if not len(images):
            return np.zeros((0, self.skeleton.num_joints, 2))
        poses = self._pose_set(images, boxes)
        found = []
        # A power of two: few sizes to compile, and a single image isn't padded to a whole batch.
        batch_size = min(_BATCH, 1 << (len(images) - 1).bit_length())
        for indices, valid in zip(*padded_batches(len(images), batch_size), strict=True):
            stages = self.cascade.predict(poses.canvases[indices], poses.boxes[indices])
            found.append(np.asarray(stages[-1].joints)[:valid])
        return to_image_pixels(np.concatenate(found), poses)

    def _pose_set(self, images: Sequence[np.ndarray], boxes: Sequence[Box] | None) -> PoseSet:
        if boxes is not None and len(boxes) != len(images):
            raise UserError(f"boxes: {len(boxes)} for {len(images)} images; accepted: one for each")
        check_rgb(images)
        canvas, k = self.settings.data.canvas, self.skeleton.num_joints
        canvases, maps, regions = [], [], []
        for i, image in enumerate(images):
            region = whole_image(image.shape[1], image.shape[0]) if boxes is None else boxes[i]
            if not (region[2] > region[0] and region[3] > region[1]):
                raise UserError(
                    f"boxes[{i}]: {region}; accepted: (x0, y0, x1, y1) with x0 < x1 and y0 < y1"
                )
            pixels, to_image = place(Image.fromarray(image), region, canvas)
            canvases.append(pixels)
            maps.append(to_image)
            regions.append(box_on_canvas(region, to_image))
        n = len(images)
        return PoseSet(
            canvases=np.stack(canvases),
            joints=np.zeros((n, k, 2), np.float32),
            labelled=np.zeros((n, k), bool),
            boxes=np.array(regions, np.float32),
            to_image=np.stack(maps).astype(np.float32),
        )


def load(workdir: str | Path) -> PoseModel:
    """The best parameters of a run.

    Raises:
        UserError: when the folder holds no run, none that has been evaluated, or another architecture's checkpoint.
    """
    folder = RunFolder(workdir)
    settings = from_mapping(PoseConfig, folder.read_config())
    stages = []
    for number in range(1, settings.stages + 1):
        build = partial(stage_network, settings, LSP, number)
        trained = stage_phases(settings, number)[-1].trained
        variables = best_variables(folder, f"stage_{number}", build, trained=trained)
        network = nnx.merge(graph_defs(build).evaluate, *variables)
        stages.append(as_stage(network, settings, number))
    return PoseModel(settings, LSP, Cascade(stages, settings.cascade, LSP))


def main(args: argparse.Namespace) -> None:
    """Writes predictions.json and an overlay for each image."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    paths = image_paths(args.images)
    model = load(args.workdir)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    found = []
    for path, image in decoded(paths, decode, skip_unreadable=args.skip_unreadable):
        box = args.box or whole_image(image.shape[1], image.shape[0])
        joints = model.predict([image], [box])[0]
        found.append({"file": str(path), "box": list(box), "joints": joints.round(3).tolist()})
        save(_overlay(image, joints, model.skeleton), out / f"{len(found):05d}_{path.stem}.png")
    written = {"joint_names": list(model.skeleton.joints), "predictions": found}
    (out / "predictions.json").write_text(json.dumps(written, indent=2) + "\n")
    print(f"{len(found)} poses in {out / 'predictions.json'}, one picture each beside it")


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
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}; accepted: x0,y0,x1,y1 in pixels") from None
    if not (x1 > x0 and y1 > y0):
        raise argparse.ArgumentTypeError(f"{text!r} is empty; accepted: x0 < x1 and y0 < y1")
    return x0, y0, x1, y1


def parser() -> argparse.ArgumentParser:
    """The program's command line."""
    command = cli.prediction_parser("deeppose_jax.predict", (__doc__ or "").splitlines()[0])
    command.add_argument(
        "--box",
        type=_box,
        help="x0,y0,x1,y1 of the person, for all images; default: the whole image",
    )
    return command


if __name__ == "__main__":
    cli.run(main, parser())
