"""A person's pose in each frame of a video; a part of deeppose_jax/predict.py."""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tqdm import tqdm

from deeppose_jax.boxes import Box, clipped, enlarged, input_box, whole_image
from deeppose_jax.people import Person, scored
from deeppose_jax.person_boxes import PersonBox
from deeppose_jax.plots.overlay import DPI, overlay
from deeppose_jax.pose_model import PoseModel, Prediction, check_box
from deeppose_jax.smoothing import OneEuroFilter
from engine_jax.devices import check_devices
from engine_jax.errors import UserError
from engine_jax.files import check_folder, make_folder, user_path, write_file
from engine_jax.video_files import Frame, VideoReader, VideoWriter

_BATCH = 16  # frames that a model is given at once, where none depends on the one before
# A pose that is smaller than this part of the box that was given isn't followed.
_SMALLEST = 0.2


def predict_video(
    args: argparse.Namespace, load: Callable[[Any], PoseModel], header: dict[str, Any]
) -> None:
    """Writes predictions.json with the pose in each frame, and a video with the poses drawn in.

    Args:
        args: of predict.py's command line.
        load: makes the model of `args.workdir`.
        header: of predictions.json.

    Raises:
        UserError: the video can't be read, or the box is not in it.
    """
    path, out = user_path(args.video), user_path(args.out)
    video = VideoReader(path)
    check_devices()
    check_folder(out)
    model = load(args.workdir)
    make_folder(out)
    drawn, entries = out / f"{path.stem}_poses.mp4", []
    about = {"file": str(path), "frame_rate": round(float(video.frame_rate), 6)}
    about |= {"smoothing_cutoff": args.smooth, "followed": args.follow}
    try:
        with (
            VideoWriter(drawn, video.frame_rate) as writer,
            tqdm(total=video.count, unit="frame", disable=None) as bar,
        ):
            for frame, person in _smoothed(_people(model, video, args), args.smooth):
                figure = overlay(frame.pixels, [person], model.skeleton, args.draw_scores)
                writer.add(rendered(figure))
                people = [person.entry(args.stages)]
                seconds = round(frame.seconds, 6)
                entries.append({"frame": frame.number, "seconds": seconds, "people": people})
                bar.update()
    finally:  # Whatever ends the loop, what was predicted until then is kept.
        names = {"joint_names": list(model.skeleton.joints)}
        held = {**header, **names, "video": about, "predictions": entries}
        write_file(out / "predictions.json", json.dumps(held, indent=2) + "\n")
    if not entries:
        raise UserError(f"{path}: holds no frames")
    print(f"poses in {len(entries)} frames: {out / 'predictions.json'} and {drawn}")


def _people(
    model: PoseModel, video: VideoReader, args: argparse.Namespace
) -> Iterator[tuple[Frame, Person]]:
    """Each frame's person: in the given box, or with --follow in a box around the pose in the frame before."""
    last = None
    for frames in _batches(video, 1 if args.follow else _BATCH):
        boxes, inputs = [], []
        for frame in frames:
            height, width = frame.pixels.shape[:2]
            given = args.box[0] if args.box else whole_image(width, height)
            check_box(given, frame.pixels, str(args.video))
            box = given if last is None else followed(last, given, width, height)
            boxes.append(box)
            inputs.append(input_box(box, width, height, args.enlarge))
        found = model.predict([frame.pixels for frame in frames], inputs)
        for frame, box, prediction in zip(frames, boxes, found, strict=True):
            last = prediction.joints if args.follow else None
            yield frame, scored(PersonBox(box), prediction, model.skeleton)


def _batches(video: VideoReader, size: int) -> Iterator[Sequence[Frame]]:
    batch: list[Frame] = []
    for frame in video:
        batch.append(frame)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def followed(joints: Float[np.ndarray, "k 2"], given: Box, width: int, height: int) -> Box:
    """The box around a pose, 1.25 times as large and within the frame; the given one where that is lost.

    A pose is lost if it is nearly outside of the frame, or far smaller than the given box.
    """
    (x0, y0), (x1, y1) = joints.min(0), joints.max(0)
    box = clipped(enlarged((float(x0), float(y0), float(x1), float(y1)), 1.25), width, height)
    least = _SMALLEST * max(given[2] - given[0], given[3] - given[1])
    if box[0] >= box[2] or box[1] >= box[3] or max(box[2] - box[0], box[3] - box[1]) < least:
        return given
    return box


def _smoothed(
    people: Iterator[tuple[Frame, Person]], cutoff: float | None
) -> Iterator[tuple[Frame, Person]]:
    """The people with their last stage's joints smoothed over time, if a cutoff is given."""
    smooth, size = None if cutoff is None else OneEuroFilter(cutoff), None
    for frame, person in people:
        if smooth is None:
            yield frame, person
            continue
        x0, y0, x1, y1 = person.found.box
        size = max(x1 - x0, y1 - y0) if size is None else size  # Speeds are in parts of it.
        *earlier, last = person.prediction.stages
        joints = size * smooth(last.joints / size, frame.seconds)
        stages = (*earlier, replace(last, joints=joints))
        yield frame, replace(person, prediction=Prediction(person.prediction.box, stages))


def rendered(figure: Figure) -> UInt8[np.ndarray, "h w 3"]:
    """A figure's pixels."""
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
