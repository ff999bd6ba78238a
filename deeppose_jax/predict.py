"""Estimates poses in images from the command line; in Python, `load().predict(images)`.

python -m deeppose_jax.predict [--workdir RUN_OR_FILE] IMAGE_OR_FOLDER... --out DIR [--box x0,y0,x1,y1 ...]
python -m deeppose_jax.predict [--workdir RUN_OR_FILE] --video FILE --out DIR [--box x0,y0,x1,y1] [--follow] [--smooth]
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeppose_jax.boxes import ENLARGED, Box, input_box, whole_image
from deeppose_jax.people import Person, coco_results, scored
from deeppose_jax.person_boxes import PersonBox, PersonBoxes, read_boxes
from deeppose_jax.plots.overlay import overlay
from deeppose_jax.pose_model import PoseModel, check_box, load
from deeppose_jax.video import predict_video
from engine_jax import cli
from engine_jax.errors import UserError, listed
from engine_jax.files import user_path
from engine_jax.plots import save
from engine_jax.prediction import predict_files, prediction_parser

FORMAT = 1  # of predictions.json


def main(args: argparse.Namespace) -> None:
    """Writes predictions.json and a picture with the poses for each image, or a video with the poses."""
    check_arguments(args)
    if args.video is not None:
        predict_video(args, load, {"format": FORMAT})
        return
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
        return [
            [scored(person, next(poses), model.skeleton) for person in found] for found in people
        ]

    def write(
        model: PoseModel, image: np.ndarray, people: list[Person], stem: Path
    ) -> dict[str, Any]:
        save(overlay(image, people, model.skeleton, args.draw_scores), f"{stem}.png")
        return {"people": [person.entry(args.stages) for person in people]}

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


def check_arguments(args: argparse.Namespace) -> None:
    """Raises a UserError if there is nothing to look at, or an option doesn't go with what there is."""
    if args.video is None:
        if not args.images:
            raise UserError("no images; accepted: IMAGE_OR_FOLDER..., or --video FILE")
        given = {"--follow": args.follow, "--smooth": args.smooth}
        accepted = "--video FILE with it"
    else:
        given = {
            "images": args.images,
            "--boxes": args.boxes,
            "several --box": args.box is not None and len(args.box) > 1,
            "--format=coco": args.format == "coco",
            "--recursive": args.recursive,
            "--skip-unreadable": args.skip_unreadable,
        }
        accepted = "--video FILE without it"
    for name, there in given.items():
        if there:
            raise UserError(f"{name}: accepted: {accepted}")


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


def _box(text: str) -> Box:
    """x0,y0,x1,y1 on the command line."""
    try:
        x0, y0, x1, y1 = (cli.finite(part) for part in text.split(","))
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(f"{text!r}; accepted: x0,y0,x1,y1 in pixels") from None
    return x0, y0, x1, y1


def _cutoff(text: str) -> float:
    value = cli.finite(text)
    if not 0 < value <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r}; accepted: more than 0, up to 1000")
    return value


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
        images="*",
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
        "--draw-scores",
        action="store_true",
        help="write the scores beside the people and joints drawn",
    )
    video = command.add_argument_group("videos", "one person's pose in each frame")
    video.add_argument("--video", metavar="FILE", help="in place of images; takes PyAV, see README")
    video.add_argument(
        "--follow",
        action="store_true",
        help="look for the person around the pose in the frame before, not in the same box always",
    )
    video.add_argument(
        "--smooth",
        type=_cutoff,
        nargs="?",
        const=1.0,
        metavar="HZ",
        help="smooth joints over time by the 1 euro filter, whose cutoff at rest is HZ (1 without a number)",
    )
    command.add_argument(
        "--stages", action="store_true", help="write the poses of every stage of the cascade"
    )
    return command


if __name__ == "__main__":
    cli.run(main, parser())
