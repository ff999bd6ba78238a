"""Small folders in the layout of MVTec AD: textured images with bright rectangles for faults."""

import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

H, W = 40, 32
# Top, left, bottom, right of the fault in every image of a defect.
FAULTS = {"crack": (8, 4, 16, 20), "print": (20, 10, 36, 14)}


def picture(i: int, fault: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """uint8 [H, W, 3]: the i-th good image, or a faulty one."""
    pixels = np.random.default_rng(i).integers(40, 90, (H, W, 3), dtype=np.uint8)
    if fault:
        top, left, bottom, right = fault
        pixels[top:bottom, left:right] = 250
    return pixels


def fault_mask(defect: str) -> np.ndarray:
    """bool [H, W]: the faulty pixels of a defect's images."""
    mask = np.zeros((H, W), bool)
    top, left, bottom, right = FAULTS[defect]
    mask[top:bottom, left:right] = True
    return mask


def tiny_mvtec(path: Path, train: int = 5, suffix: str = ".png") -> Path:
    """`train` good training images; in the test set, 2 good ones and 3 for each of FAULTS."""
    for folder, count in (("train/good", train), ("test/good", 2)):
        (path / folder).mkdir(parents=True)
        for i in range(count):
            offset = 0 if folder == "train/good" else 100
            save(path / folder / f"{i:03d}{suffix}", picture(offset + i))
    for defect, fault in FAULTS.items():
        (path / "test" / defect).mkdir()
        (path / "ground_truth" / defect).mkdir(parents=True)
        for i in range(3):
            save(path / "test" / defect / f"{i:03d}{suffix}", picture(200 + i, fault))
            mask = fault_mask(defect).astype(np.uint8) * 255
            save(path / "ground_truth" / defect / f"{i:03d}_mask.png", mask)
    (path / "license.txt").write_text("none")
    return path


def save(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def zipped(folder: Path, archive: Path, above: str = "") -> Path:
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, Path(above) / path.relative_to(folder))
    return archive


def tarred(folder: Path, archive: Path, above: str = ".") -> Path:
    with tarfile.open(archive, "w:xz") as file:
        file.add(folder, above)
    return archive
