"""Small sets of rendered people in COCO's format, two a picture, with the joints of COCO or of an upper body."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deeppose_jax import COCO, Skeleton, synthetic
from deeppose_jax.skeleton import LSP

SIZE = 48  # pixels a side of a figure
# Joints that figures don't have, in parts of the way from the neck to the top of the head, and to the person's left.
_FACE = {"nose": (0.4, 0.0), "eye": (0.55, 0.12), "ear": (0.5, 0.25)}


def derived(joints: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """LSP's joints [n, 14, 2] as another skeleton's [n, k, 2]."""
    neck, top = joints[:, LSP.joints.index("neck")], joints[:, LSP.joints.index("head_top")]
    up = top - neck
    left = np.stack([-up[:, 1], up[:, 0]], 1)  # Of a person who faces the camera.
    found = []
    for name in skeleton.joints:
        if name in LSP.joints:
            found.append(joints[:, LSP.joints.index(name)])
            continue
        along, across = _FACE[name.rpartition("_")[2]]
        sign = -1 if name.startswith("right") else 1
        found.append(neck + along * up + sign * across * left)
    return np.stack(found, 1)


def dataset(skeleton: Skeleton) -> dict[str, Any]:
    """A file's object without images and annotations."""
    category = {
        "id": 1,
        "name": "person",
        "keypoints": list(skeleton.joints),
        "skeleton": [[a + 1, b + 1] for a, b, _ in skeleton.limbs],
    }
    return {"images": [], "annotations": [], "categories": [category]}


def annotation(number: int, image: int, joints: np.ndarray, labelled: np.ndarray) -> dict[str, Any]:
    """A person with the box around the joints."""
    low, high = joints.min(0) - 4, joints.max(0) + 4
    points = np.concatenate([np.where(labelled[:, None], joints, 0), 2 * labelled[:, None]], 1)
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "bbox": [*low.tolist(), *(high - low).tolist()],
        # Large, so that the poses of a few steps match some people.
        "area": float(20 * np.prod(high - low)),
        "iscrowd": 0,
        "num_keypoints": int(labelled.sum()),
        "keypoints": points.ravel().tolist(),
    }


def coco_set(
    folder: Path, name: str, count: int, skeleton: Skeleton = COCO, start: int = 0
) -> Path:
    """Writes NAME.json and the pictures NAME/*.png of `count` people, and returns the path of the former."""
    figures = synthetic.figures(0, count, SIZE, start)
    joints = derived(figures.joints, skeleton)
    held = dataset(skeleton)
    (folder / name).mkdir(parents=True)
    for image in range(count // 2):
        pair = slice(2 * image, 2 * image + 2)
        file = f"{name}_{image:03d}.png"
        Image.fromarray(np.concatenate(list(figures.canvases[pair]), 1)).save(folder / name / file)
        held["images"].append(
            {"id": 100 + image, "file_name": file, "width": 2 * SIZE, "height": SIZE}
        )
        for person in range(2):
            moved = joints[2 * image + person] + [person * SIZE, 0]
            inside = ((moved >= 0) & (moved <= [2 * SIZE - 1, SIZE - 1])).all(1)
            number = len(held["annotations"]) + 1
            held["annotations"].append(annotation(number, 100 + image, moved, inside))
    path = folder / f"{name}.json"
    path.write_text(json.dumps(held))
    return path
