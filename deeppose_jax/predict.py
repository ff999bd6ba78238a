"""Estimates poses in images from the command line; in Python, `load().predict(images)`.

python -m deeppose_jax.predict [--workdir RUN_OR_FILE] IMAGE_OR_FOLDER... --out DIR [--box x0,y0,x1,y1 ...]
"""

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from deeppose_jax.boxes import ENLARGED, Box, input_box, whole_image
from deeppose_jax.oks import expected_similarities, joint_sigmas
from deeppose_jax.person_boxes import PersonBox, PersonBoxes, read_boxes
from deeppose_jax.plots import draw_skeleton
from deeppose_jax.pose_model import PoseModel, Prediction, StagePose, check_box, load
from deeppose_jax.skeleton import Skeleton
from engine_jax import cli
from engine_jax.errors import listed
from engine_jax.files import user_path
from engine_jax.plots import save
from engine_jax.prediction import predict_files, prediction_parser

FORMAT = 1  # of predictions.json

_DRAWN = 2048  # pixels of a picture's longer side, at most


@dataclass(frozen=True)
class Person:
    """A person in an image, and the pose in the box that the model was given."""

    found: PersonBox
    prediction: Prediction


def main(args: argparse.Namespace) -> None:
    """Writes predictions.json and a picture with the poses for each image."""
    boxes = None if args.boxes is None else read_boxes(args.boxes)

    def predict(
        model: PoseModel, files: list[Path], images: list[np.ndarray]
    ) -> list[list[Person]]:
        people = [
            _people(file, image, args.box, boxes) for file, image in zip(files, images, strict=True)
        ]
        inputs = [
            (image, input_box(person.box, image.shape[1], image.shape[0], args.enlarge))
            for image, found in zip(images, people, strict=True)
            for person in found
        ]
        poses = iter(model.predict([image for image, _ in inputs], [box for _, box in inputs]))
        return [[Person(person, next(poses)) for person in found] for found in people]

    def write(
        model: PoseModel, image: np.ndarray, people: list[Person], stem: Path
    ) -> dict[str, Any]:
        save(_overlay(image, people, model.skeleton), f"{stem}.png")
        sigmas = joint_sigmas(model.skeleton)
        return {"people": [_entry(person, sigmas, args.stages) for person in people]}

    def header(model: PoseModel) -> dict[str, Any]:
        return {"format": FORMAT, "joint_names": list(model.skeleton.joints)}

    def document(written: dict[str, Any]) -> Any:
        return coco_results(written["predictions"], boxes) if args.format == "coco" else written

    entries = predict_files(args, load, predict, write, header, document)
    poses = sum(len(entry["people"]) for entry in entries)
    if boxes is not None and not poses:
        logging.warning(
            "%s: has no box in any of the images; it names %s",
            args.boxes,
            listed(list(boxes.by_image)) or "none",
        )
    print(
        f"{poses} poses in {len(entries)} images: {Path(args.out) / 'predictions.json'}, with one picture each"
    )


def _people(
    file: Path, image: np.ndarray, given: Sequence[Box] | None, boxes: PersonBoxes | None
) -> list[PersonBox]:
    """Who is in an image: as the command line says, as the file of boxes says, or one person who fills it."""
    if given is not None:
        found = [PersonBox(box) for box in given]
    elif boxes is not None:
        found = boxes.of(file)
    else:
        return [PersonBox(whole_image(image.shape[1], image.shape[0]))]
    for person in found:
        check_box(person.box, image, str(file))
    return found


def coco_results(
    entries: Sequence[Mapping[str, Any]], boxes: PersonBoxes | None
) -> list[dict[str, Any]]:
    """Predictions as COCO's results of key points: a list with an object for each person.

    Args:
        entries: of predictions.json.
        boxes: give the images' numbers; images without one are numbered in their order, from 1.
    """
    results = []
    for order, entry in enumerate(entries, start=1):
        number = None if boxes is None else boxes.number(Path(entry["file"]))
        for person in entry["people"]:
            points = zip(person["joints"], person["joint_scores"], strict=True)
            results.append(
                {
                    "image_id": order if number is None else number,
                    "category_id": 1,
                    "keypoints": [value for (x, y), score in points for value in (x, y, score)],
                    "score": person["score"],
                }
            )
    return results


def _entry(person: Person, sigmas: Float[np.ndarray, " k"], stages: bool) -> dict[str, Any]:
    prediction = person.prediction
    scales = None if prediction.scales is None else prediction.scales[None]
    box = np.array(person.found.box)[None]
    (sure,) = expected_similarities(scales, box, sigmas)
    known = 1.0 if person.found.score is None else person.found.score
    entry = {
        "box": list(person.found.box),
        "box_score": person.found.score,
        "input_box": list(prediction.box),
        **_pose_entry(prediction.stages[-1]),
        "score": round(known * float(sure.mean()), 6),
        "joint_scores": sure.round(6).tolist(),
    }
    if stages:
        entry["stages"] = [_pose_entry(stage) for stage in prediction.stages]
    return entry


def _pose_entry(pose: StagePose) -> dict[str, Any]:
    return {
        "joints": pose.joints.round(3).tolist(),
        "scales": None if pose.scales is None else pose.scales.round(3).tolist(),
    }


def _overlay(image: np.ndarray, people: Sequence[Person], skeleton: Skeleton) -> Figure:
    """The poses drawn on their image, 600 to 2048 pixels on the longer side, with the boxes if they aren't all."""
    height, width = image.shape[:2]
    zoom = min(max(1.0, 600 / max(height, width)), _DRAWN / max(height, width))
    if zoom < 1:  # What draws takes a hundred bytes a pixel.
        shown = (round(width * zoom), round(height * zoom))
        image = np.asarray(Image.fromarray(image).resize(shown, Image.Resampling.BOX))
    figure = Figure(figsize=(width * zoom / 150, height * zoom / 150))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(image, extent=(-0.5, width - 0.5, height - 0.5, -0.5))
    axes.axis("off")
    for person in people:
        joints = person.prediction.joints
        draw_skeleton(axes, joints, np.ones(len(joints), bool), skeleton)
        if person.found.box != whole_image(width, height):
            x0, y0, x1, y1 = person.found.box
            axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="white"))
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


def _factor(text: str) -> float:
    value = cli.finite(text)
    if not 1 <= value <= 10:
        raise argparse.ArgumentTypeError(f"{text!r}; accepted: 1 .. 10")
    return value


def parser() -> argparse.ArgumentParser:
    """The program's command line."""
    command = prediction_parser(
        "deeppose_jax.predict",
        (__doc__ or "").splitlines()[0],
        default_model="the one that comes with the package",
    )
    people = command.add_mutually_exclusive_group()
    people.add_argument(
        "--box",
        type=_box,
        action="append",
        help="x0,y0,x1,y1 of a person, for all images; once for each person; default: one person who fills the image",
    )
    people.add_argument(
        "--boxes",
        type=user_path,
        help="a file with people's boxes: COCO JSON, or CSV with the columns file,x0,y0,x1,y1 and score if known",
    )
    command.add_argument(
        "--enlarge",
        type=_factor,
        default=ENLARGED,
        help="how much larger than a box the model's input is, within the image (default: %(default)s)",
    )
    command.add_argument(
        "--format",
        choices=("people", "coco"),
        default="people",
        help="of predictions.json: people by image (default), or COCO's results, whose image_id are those of --boxes "
        "FILE, or else the images' order from 1",
    )
    command.add_argument(
        "--stages", action="store_true", help="write the poses of every stage of the cascade"
    )
    return command


if __name__ == "__main__":
    cli.run(main, parser())
