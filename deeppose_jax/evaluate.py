"""Scores a model, or predictions of any program, on Leeds Sports Pose, on data like it, or on COCO key points.

    python -m deeppose_jax.evaluate --joints joints.mat --predictions pred.mat --images 1001:2000
    python -m deeppose_jax.evaluate --joints joints.mat --image-folder images --images 1001:2000
    python -m deeppose_jax.evaluate --joints people.json --image-folder images --workdir RUN

--joints is the data set's own file: [3, 14, n] for LSP, [14, 3, n] for LSP Extended, with other
joints than these 14 where --skeleton says so; or COCO's JSON (deeppose_jax/evaluate_coco.py), which
names its own. --predictions holds `pred` [2, 14, n] in the same coordinates, joints in the same
order: one pose for each image of --images, or one for each image of --joints, of which those of
--images are scored. Without it the poses are those of a model, by default the one that comes with
the package, on the whole images of --image-folder. What the joints don't allow to be measured is
null.

LSP's observer-centric joints name left and right as the viewer sees them. --observer-centric renames
the predictions of a model that was trained on person-centric joints in the same way, by the
positions of its hips and shoulders.

The mean-pose floor needs the images' sizes, which are in neither file; without --image-folder it is
left out. It is the mean of the poses outside --images: a joint that none of them labels has no floor.
"""

import argparse
import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from deeppose_jax import evaluate_coco, metrics
from deeppose_jax.data.mat_files import labelled_joints, read_array, read_joints
from deeppose_jax.pose_model import PoseModel, check_joints, load
from deeppose_jax.skeleton import LSP, Skeleton, observer_centric
from deeppose_jax.skeleton_file import named_skeleton
from deeppose_jax.tables import score_table
from engine_jax import cli
from engine_jax.devices import check_devices
from engine_jax.errors import UserError
from engine_jax.files import read_file, user_path
from engine_jax.image_files import images_in, read_size

_BATCH = 32  # images that a model is given at once


def load_joints(path: Path, skeleton: Skeleton = LSP) -> tuple[np.ndarray, np.ndarray]:
    """Reads the `joints` of LSP [3, k, n] or LSP Extended [k, 3, n], with the k joints of a skeleton.

    Returns:
        joints: [n, k, 2], (x, y) in the file's own pixels, which start at 1; (0, 0) where not labelled.
        labelled: [n, k], see `mat_files.labelled_joints`.

    Raises:
        UserError: when the file can't be read or has other contents.
    """
    kind, joints = read_joints(path, skeleton.num_joints)
    labelled = labelled_joints(kind, joints)
    return np.where(labelled[..., None], joints[..., :2], 0), labelled


def load_predictions(path: Path, chosen: slice, total: int, skeleton: Skeleton = LSP) -> np.ndarray:
    """Reads `pred` [2, k, n]; returns the chosen images' poses, [m, k, 2], with NaN for joints that aren't finite.

    Raises:
        UserError: when the file can't be read, or has another number of poses.
    """
    array = read_array(path, "pred")
    k = skeleton.num_joints
    if array.shape[:2] != (2, k):
        raise UserError(f"{path}: pred has shape {list(array.shape)}; accepted is [2, {k}, n]")
    pred = array.transpose(2, 1, 0)  # [n, k, 2]
    wanted = chosen.stop - chosen.start
    if len(pred) not in (wanted, total):
        accepted = f"{wanted} (one for each image of --images)"
        if total != wanted:
            accepted += f" or {total} (one for each image of --joints)"
        raise UserError(f"{path}: pred has {len(pred)} poses; accepted are {accepted}")
    if len(pred) != wanted:
        pred = pred[chosen]
    return np.where(np.isfinite(pred).all(-1, keepdims=True), pred, np.nan)


def predict_poses(model: PoseModel, folder: Path, chosen: slice, total: int) -> np.ndarray:
    """A model's poses on whole images, [m, k, 2] in pixels that start at 1.

    Args:
        model: the model.
        folder: the images, one for each pose of --joints.
        chosen: the images to predict.
        total: poses in --joints.

    Raises:
        UserError: as `image_files` and `predict` do.
    """
    files = image_files(folder, total)[chosen]
    poses = []
    for start in tqdm(range(0, len(files), _BATCH), unit="batch", disable=None):
        poses += [found.joints for found in model.predict(files[start : start + _BATCH])]
    return np.stack(poses) + 1


def parse_images(text: str | None, total: int) -> slice:
    """First and last image, counted from 1 and both included, as a slice from 0.

    Raises:
        UserError: when it isn't two numbers with a colon, or not within the data set.
    """
    if text is None:
        return slice(0, total)
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]) <= total:
        raise UserError(
            f"--images: got {text!r}; accepted is FIRST:LAST, both included, within 1:{total}"
        )
    return slice(int(match[1]) - 1, int(match[2]))


def parse_thresholds(text: str) -> tuple[float, ...]:
    """Positive numbers with commas between them.

    Raises:
        UserError: on any other text.
    """
    try:
        thresholds = tuple(float(part) for part in text.split(","))
    except ValueError:
        thresholds = ()
    if not thresholds or not all(0 < threshold < np.inf for threshold in thresholds):
        raise UserError(
            f"--thresholds: got {text!r}; accepted are positive numbers such as 0.1,0.2,0.5"
        )
    return thresholds


def mean_pose_predictions(
    joints: np.ndarray, labelled: np.ndarray, sizes: np.ndarray, chosen: slice
) -> np.ndarray:
    """The mean pose of the other images, as the prediction for each chosen one.

    Poses are averaged in the frame of the square canvas around each image, whose origin is the image's
    centre and whose unit is its longer side, and scaled back to each chosen image.

    Args:
        joints: [n, k, 2] in pixels that start at 1.
        labelled: [n, k].
        sizes: [n, 2], each image's width and height in pixels.
        chosen: the images to predict.

    Returns:
        [m, k, 2] in pixels that start at 1; NaN for a joint that none of the other images labels.
    """
    others = np.ones(len(joints), bool)
    others[chosen] = False
    centres = (sizes[:, None, :] + 1) / 2  # [n, 1, 2]
    side = sizes.max(1)[:, None, None].astype(np.float64)  # [n, 1, 1]
    mean = metrics.mean_pose(((joints - centres) / side)[others], labelled[others])
    return mean * side[chosen] + centres[chosen]


def image_files(folder: Path, count: int) -> list[Path]:
    """The images in a folder, in the order of the numbers in their names.

    Raises:
        UserError: when there is no such folder, or it has another number of images.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected the data set's images")
    files = images_in(folder)
    if len(files) != count:
        raise UserError(f"{folder}: {len(files)} images, but --joints has {count} poses")
    return files


def image_sizes(folder: Path, count: int) -> np.ndarray:
    """Width and height of the images in a folder, upright, in the order of the numbers in their names: [n, 2].

    Raises:
        UserError: as `image_files` does, or when one can't be read.
    """
    files = image_files(folder, count)
    return np.array([read_size(partial(read_file, file), str(file)) for file in files])


def main(args: argparse.Namespace) -> None:
    """Scores the predictions and prints the table or the JSON."""
    thresholds = parse_thresholds(args.thresholds)
    coco = args.joints.suffix.lower() == ".json"
    given: Path | None = args.predictions
    folder: Path | None = args.image_folder
    if given is None and folder is None and not coco:
        raise UserError("give --predictions, or --image-folder for a model's own predictions")
    model, name = None, str(given)
    if given is None:
        check_devices()
        model, name = load(args.workdir), args.workdir or "the model that comes with the package"
    if coco:
        evaluate_coco.main(args, thresholds, model, name)
        return
    skeleton = LSP if model is None else model.skeleton
    if args.skeleton is not None:
        skeleton = named_skeleton(args.skeleton)
    joints, labelled = load_joints(args.joints, skeleton)
    chosen = parse_images(args.images, len(joints))
    if model is not None and folder is not None:
        check_joints(model, name, skeleton)
        pred = predict_poses(model, folder, chosen, len(joints))
    else:
        assert given is not None
        pred = load_predictions(given, chosen, len(joints), skeleton)
    missing = int(np.isnan(pred).any(-1).sum())
    if args.observer_centric:
        pred = observer_centric(pred, skeleton)

    def score(poses: np.ndarray, known: np.ndarray) -> dict[str, Any]:
        return metrics.score(poses, joints[chosen], known, skeleton, thresholds)

    result, floor = score(pred, labelled[chosen]), None
    left_out = "it takes the images' sizes (--image-folder)"
    if folder is not None:
        sizes = image_sizes(folder, len(joints))
        mean = mean_pose_predictions(joints, labelled, sizes, chosen)
        left_out = "it takes labelled images outside --images"
        if (defined := np.isfinite(mean).all(-1)).any():
            floor = score(mean, labelled[chosen] & defined)
    image_range = f"{chosen.start + 1}:{chosen.stop}"
    if args.json:
        about = {"labels": args.labels, "image_range": image_range, "missing_joints": missing}
        print(json.dumps({**about, **result, "mean_pose": floor}, indent=2, allow_nan=False))
        return
    labels = {"PC": "person-centric", "OC": "observer-centric", None: "not stated (--labels)"}
    print(f"{name}: images {image_range} ({result['images']})")
    print(f"labels: {args.joints}, {labels[args.labels]}")
    if missing:
        print(f"{missing} of {pred[..., 0].size} predicted joints are missing and count as misses")
    print()
    print(score_table(result, floor))
    if floor is None:
        print(f"mean-pose floor: left out; {left_out}")


def parser() -> argparse.ArgumentParser:
    """The program's command line."""
    result = argparse.ArgumentParser(
        prog="python -m deeppose_jax.evaluate",
        description="PCP, PDJ, PCKh and OKS AP of poses on Leeds Sports Pose, data like it, or COCO key points.",
    )
    add = result.add_argument
    add("--joints", type=user_path, required=True, help="the data set's joints.mat, or COCO's JSON")
    source = result.add_mutually_exclusive_group()
    source.add_argument(
        "--predictions", type=user_path, help=".mat file with pred [2, k, n]; COCO's results"
    )
    source.add_argument(
        "--workdir",
        help="the folder of a finished run, or a model's file, to predict with (default: the model that comes with "
        "the package)",
    )
    add(
        "--skeleton",
        help="of joints.mat: lsp, coco, mpii, flic or a JSON file (default: the model's, or lsp)",
    )
    add("--images", metavar="FIRST:LAST", help="from 1, both included (default: all)")
    add("--labels", choices=("PC", "OC"), help="convention of --joints; printed with the scores")
    add(
        "--observer-centric",
        action="store_true",
        help="first rename the predicted limbs by the viewer's sides, to score a person-centric "
        "model against observer-centric joints",
    )
    add("--thresholds", default="0.1,0.2,0.5", help="of PDJ (default: %(default)s)")
    add(
        "--image-folder",
        type=user_path,
        help="the data set's images, to predict on and for the mean-pose floor",
    )
    add("--json", action="store_true", help="print JSON and nothing else")
    return result


if __name__ == "__main__":
    cli.run(main, parser())
