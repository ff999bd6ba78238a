"""Files that people give are mutated and read.

    python -m tests.soak fuzz

A try is right when the reader takes the bytes or raises a UserError; everything else that it raises is wrong.
"""

import io
import json
import math
import random
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import safetensors.numpy
from PIL import Image
from scipy.io import savemat

from anomaly_jax.config import SCHEMA as ANOMALY
from anomaly_jax.data.pixels import decode_mask
from classify_jax.config import SCHEMA as CLASSIFY
from configs import anomaly, classify, pose
from convnets_jax import state_dict
from deeppose_jax.config import SCHEMA as POSE
from deeppose_jax.data.coco import open_coco
from deeppose_jax.data.mat_files import read_array, read_joints
from deeppose_jax.person_boxes import read_boxes
from deeppose_jax.skeleton import LSP
from deeppose_jax.skeleton_file import read_skeleton, to_json
from engine_jax import checkpoint
from engine_jax.checkpoint import Checkpoints
from engine_jax.errors import UserError
from engine_jax.images import decode_rgb
from engine_jax.run_folder import RunFolder
from tests.convnets_jax.test_state_dict import legacy_file, zip_file

Read = Callable[[Path], object]

_RARELY = 25  # Reading a checkpoint takes longer by that much.

_WORDS = (b"NaN", b"1e999", b"null", b"[]", b"{}", b"-1", b"\xff\xff\xff\xff", b"\0" * 8, b'"')


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Some bytes of `data` changed, left out, doubled or replaced, at up to four places."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        first = chance.randrange(len(changed) + 1)
        last = first + chance.randint(1, 32)
        match chance.randrange(6):
            case 0:
                if first < len(changed):
                    changed[first] ^= 1 << chance.randrange(8)
            case 1:
                del changed[first:last]
            case 2:
                changed[first:first] = changed[first:last]
            case 3:
                changed[first:last] = chance.randbytes(last - first)
            case 4:
                changed[first:last] = chance.choice(_WORDS)
            case 5:
                del changed[first:]
    return bytes(changed)


def run(tries: int = 100_000, seed: int = 0) -> list[str]:
    """Reads `tries` mutated files, equally many by each reader but fewer of checkpoints; returns what was wrong."""
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = _cases(Path(folder))
        shares = {name: 1 / _RARELY if name.startswith("checkpoints") else 1.0 for name in cases}
        for name, (path, read) in cases.items():
            share = math.ceil(tries * shares[name] / sum(shares.values()))
            failures += _fuzz(name, path, read, share, seed)
    return failures


def _fuzz(name: str, path: Path, read: Read, tries: int, seed: int) -> list[str]:
    whole, chance = path.read_bytes(), random.Random(f"{name} {seed}")
    read(path)  # As it is, it is taken.
    refused, found = 0, {}
    for _ in range(tries):
        path.write_bytes(mutated(whole, chance))
        try:
            read(path)
        except UserError:
            refused += 1
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{type(error).__name__} at {last.filename}:{last.lineno}: {error}"
            found[where.split(": ")[0]] = f"{name}: {where}"
    path.write_bytes(whole)
    print(
        f"  {name}: {tries} tried, {refused} refused, {len(found)} kinds of other errors",
        flush=True,
    )
    return list(found.values())


def _cases(folder: Path) -> dict[str, tuple[Path, Read]]:
    """A file for each reader, and how it is read."""
    random_numbers = np.random.default_rng(0)
    joints = folder / "joints.mat"
    points = random_numbers.uniform(1, 100, (3, 14, 4))
    points[2] = random_numbers.integers(0, 2, (14, 4))
    savemat(joints, {"joints": points})
    packed = folder / "packed.mat"
    savemat(packed, {"pred": points[:2]}, do_compression=True)
    cases: dict[str, tuple[Path, Read]] = {
        "joints": (joints, read_joints),
        "predictions": (packed, lambda path: read_array(path, "pred")),
    }
    mask = Image.fromarray((random_numbers.random((9, 7)) > 0.5).astype(np.uint8) * 255)
    for kind in ("PNG", "TIFF", "BMP"):
        file = io.BytesIO()
        mask.save(file, kind)
        path = folder / f"mask.{kind.lower()}"
        path.write_bytes(file.getvalue())
        cases[f"{kind} masks"] = (path, lambda path: decode_mask(path.read_bytes(), "mask"))
    for kind in ("JPEG", "WEBP"):
        path = folder / f"image.{kind.lower()}"
        mask.convert("RGB").save(path, kind)
        cases[f"{kind} images"] = (path, lambda path: decode_rgb(path.read_bytes(), "image"))
    cases["zipped weights"] = (zip_file(folder / "zip.pth"), state_dict.read)
    cases["older weights"] = (legacy_file(folder / "legacy.pth"), state_dict.read)
    tensors = {"a.weight": np.ones((2, 3), np.float32), "a.bias": np.ones(3, np.float16)}
    safetensors.numpy.save_file(tensors, folder / "w.safetensors")
    cases["safetensors"] = (folder / "w.safetensors", state_dict.read)
    for schema, module in ((POSE, pose), (ANOMALY, anomaly), (CLASSIFY, classify)):
        workdir = folder / schema.task
        workdir.mkdir()
        path = workdir / "config.json"
        values = {"format": schema.format, **module.get_config().to_dict()}
        path.write_text(json.dumps(values))
        cases[f"{schema.task} configurations"] = (
            path,
            lambda path, schema=schema: RunFolder(path.parent).read_settings(schema),
        )
    cases |= _checkpoints(folder / "checkpoints") | _people(folder)
    (folder / "results.json").write_text(
        json.dumps({"task": "pose", "seed": 0, "stages": [{"pdj": 1.5}]})
    )
    cases["results"] = (
        folder / "results.json",
        lambda path: RunFolder(path.parent).read_results(),
    )
    return cases


def _checkpoints(folder: Path) -> dict[str, tuple[Path, Read]]:
    """What describes a checkpoint; the arrays are those that were saved, or a line says why not."""
    saved = {"x": np.arange(3.0), "n": np.asarray(7)}
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(1, saved)

    def read(path: Path) -> None:
        with mock.patch.object(
            checkpoint, "_OTHERS", 0.0
        ):  # Seconds to wait for other arrays' errors.
            found = checkpoint.restore(
                folder, {name: 0 * array for name, array in saved.items()}, 1
            )
        for name, array in saved.items():
            np.testing.assert_array_equal(found[name], array)

    return {
        f"checkpoints' {name}": (folder / "1" / name, read)
        for name in ("_CHECKPOINT_METADATA", "state/_METADATA")
    }


def _people(folder: Path) -> dict[str, tuple[Path, Read]]:
    """Files of boxes, key points and skeletons."""
    table, coco, skeleton = folder / "boxes.csv", folder / "coco.json", folder / "skeleton.json"
    table.write_text("file,x0,y0,x1,y1,score\na.jpg,1,2,30,40,0.5\nb/c.jpg,5,6,20,30,\n")
    person = {"id": 3, "image_id": 1, "category_id": 1, "bbox": [1, 2, 8, 9], "area": 72.0}
    person |= {"keypoints": [1, 2, 2, 8, 9, 1], "iscrowd": 0}
    category = {"id": 1, "name": "person", "keypoints": ["left_eye", "right_eye"], "skeleton": []}
    held = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [person]}
    coco.write_text(json.dumps({**held, "categories": [category]}))
    skeleton.write_text(json.dumps(to_json(LSP)))
    Image.new("RGB", (9, 9)).save(folder / "a.jpg")
    return {
        "boxes": (table, read_boxes),
        "boxes in JSON": (coco, read_boxes),
        "key points": (coco, lambda path: open_coco(path, folder)),
        "skeletons": (skeleton, lambda path: read_skeleton(path.parent)),
    }
