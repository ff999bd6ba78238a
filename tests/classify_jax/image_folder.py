"""Folders of random images by class."""

from pathlib import Path

import numpy as np
from PIL import Image


def image_folder(path: Path, counts: dict[str, int], suffix: str = ".png") -> Path:
    """`counts["train/cat"]` images in path/train/cat, of which no two are of the same size."""
    random = np.random.default_rng(0)
    size = 20
    for folder, count in counts.items():
        (path / folder).mkdir(parents=True)
        for i in range(count):
            size += 1
            pixels = random.integers(0, 256, (size, 2 * size, 3), np.uint8)
            Image.fromarray(pixels).save(path / folder / f"{i:02d}{suffix}")
    return path
