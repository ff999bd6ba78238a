"""Scores a model, or predictions of any program, on people in COCO's format; a part of deeppose_jax/evaluate.py.

A model is given each annotated person's box, enlarged as in training. COCO's results, a list of objects with image_id,
keypoints and score, say of whom each pose is in their order only, so that they have average precision by OKS and
neither PCP nor PDJ.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from deeppose_jax import metrics
from deeppose_jax.boxes import input_box
from deeppose_jax.data.coco import CocoSet, open_coco
from deeppose_jax.oks import expected_similarities, joint_sigmas, oks_scores
from deeppose_jax.pose_model import PoseModel, check_joints
from deeppose_jax.tables import score_table
from engine_jax.errors import UserError, reason
from engine_jax.files import read_file
from engine_jax.images import decode_rgb

_BATCH = 32  # people that a model is given at once
_RESAMPLES = 1000  # of the images, for intervals


def main(
    args: argparse.Namespace, thresholds: Sequence[float], model: PoseModel | None, name: str
) -> None:
    """Scores the predictions of `model`, or those of a file, and prints the table or the JSON.

    Raises:
        UserError: a file can't be read or doesn't fit, or an option that other data take.
    """
    for option in ("images", "labels", "skeleton", "observer_centric"):
        if getattr(args, option):
            shown = option.replace("_", "-")
            raise UserError(f"--{shown}: {args.joints} is COCO's; accepted: a joints.mat with it")
    folder = "" if args.image_folder is None else args.image_folder
    found = open_coco(args.joints, folder, read_images=model is not None)
    if model is None:
        result = _results_scores(args.predictions, found)
    else:
        result = _model_scores(model, name, found, thresholds)
    if args.json:
        about = {"joints": list(found.skeleton.joints)}
        print(json.dumps({**about, **result, "mean_pose": None}, indent=2, allow_nan=False))
        return
    print(f"{name}: {result['people']} people in {found.images} images of {args.joints}")
    print()
    print(score_table(result))


def _model_scores(
    model: PoseModel, name: str, found: CocoSet, thresholds: Sequence[float]
) -> dict[str, Any]:
    people, skeleton = found.people.rows(slice(len(found.records))), found.skeleton
    check_joints(model, name, skeleton)
    poses = []
    for start in tqdm(range(0, len(found.records), _BATCH), unit="batch", disable=None):
        images, boxes = [], []
        for record in found.records[start : start + _BATCH]:
            assert record.box is not None
            images.append(np.asarray(decode_rgb(record.read(), record.name)))
            height, width = images[-1].shape[:2]
            boxes.append(input_box(record.box, width, height))
        poses += model.predict(images, boxes)
    joints = np.stack([pose.joints for pose in poses])
    scaled = [pose.scales for pose in poses if pose.scales is not None]
    sigmas = joint_sigmas(skeleton)
    sure = expected_similarities(np.stack(scaled) if scaled else None, people.boxes, sigmas)
    result = metrics.score(joints, people.joints, people.labelled, skeleton, thresholds)
    oks = oks_scores(
        joints, sure.mean(1), people.images, found.people, sigmas, resamples=_RESAMPLES
    )
    result["intervals"]["oks"] = oks.pop("intervals")
    return {"people": len(people), **result, "oks": oks}


def _results_scores(path: Path, found: CocoSet) -> dict[str, Any]:
    joints, scores, images = read_results(path, found.skeleton.num_joints)
    sigmas = joint_sigmas(found.skeleton)
    oks = oks_scores(joints, scores, images, found.people, sigmas, resamples=_RESAMPLES)
    nothing = dict.fromkeys(metrics.SCORES)
    intervals = {**nothing, "oks": oks.pop("intervals")}
    return {"people": len(found.records), **nothing, "intervals": intervals, "oks": oks}


def read_results(path: Path, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poses [m, k, 2] in pixels, their scores [m] and their images' numbers [m], of a file of COCO's results.

    Raises:
        UserError: the file can't be read or holds anything else.
    """
    joints, scores, images = [], [], []
    try:
        held = json.loads(read_file(path))
        if not isinstance(held, list):
            raise ValueError(f"{type(held).__name__} in place of a list")
        for entry in held:
            points = np.array(entry["keypoints"], np.float64)
            if points.shape != (3 * k,):
                raise ValueError(f"{points.size} numbers as keypoints, for {k} joints")
            joints.append(points.reshape(k, 3)[:, :2])
            scores.append(float(entry["score"]))
            images.append(int(entry["image_id"]))
    except OSError as error:
        raise UserError(f"{path}: can't be read ({reason(error)})") from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        said = f"no {error}" if isinstance(error, KeyError) else reason(error)
        raise UserError(
            f"{path}: {said}; accepted: COCO's results, a list of objects with image_id, keypoints and score"
        ) from error
    array = np.array(joints, np.float64).reshape(-1, k, 2)
    return array, np.array(scores, np.float64), np.array(images, np.int64)
