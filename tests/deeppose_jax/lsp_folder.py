"""Small folders in the layouts of LSP and LSP Extended, with stick figures for people."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.io import savemat

from deeppose_jax.skeleton import LSP


@dataclass(frozen=True)
class Folder:
    """A folder and what was written there.

    Attributes:
        path: the folder.
        joints: float64 [n, 14, 2] in pixels from 0, as a reader should give them.
        labelled: bool [n, 14].
        occluded: bool [n, 14]; written to LSP's joints.mat only.
    """

    path: Path
    joints: np.ndarray
    labelled: np.ndarray
    occluded: np.ndarray


def tiny_lsp(path: Path, count: int = 6, seed: int = 0) -> Folder:
    """LSP: every joint labelled, some occluded; joints.mat [3, 14, n] and the OC labels."""
    folder = _figures(path, count, seed, "im{:04d}.jpg")
    savemat(path / "joints.mat", {"joints": _lsp_array(folder.joints, folder.occluded)})
    swap = list(LSP.swap)
    mirrored = _lsp_array(folder.joints[:, swap], folder.occluded[:, swap])
    savemat(path / "joints_observer_centric.mat", {"joints": mirrored})
    return folder


def tiny_lsp_extended(path: Path, count: int = 6, seed: int = 0) -> Folder:
    """LSP Extended: some joints unlabelled, with coordinates at or below 0; joints.mat [14, 3, n]."""
    folder = _figures(path, count, seed, "im{:05d}.jpg")
    rng = np.random.default_rng(seed + 1)
    labelled = rng.random((count, 14)) < 0.85
    labelled[:, [2, 9]] = True
    xy = np.where(labelled[..., None], folder.joints + 1, [-0.25, 0])
    array = np.concatenate([xy, labelled[..., None]], axis=2)  # [n, 14, 3]
    savemat(path / "joints.mat", {"joints": array.transpose(1, 2, 0)})
    return Folder(path, folder.joints, labelled, folder.occluded)


def _lsp_array(joints: np.ndarray, occluded: np.ndarray) -> np.ndarray:
    return np.concatenate([joints + 1, occluded[..., None]], axis=2).transpose(2, 1, 0)


def _figures(path: Path, count: int, seed: int, name: str) -> Folder:
    """Writes images of several sizes, each with the limbs drawn where its joints are."""
    rng = np.random.default_rng(seed)
    (path / "images").mkdir(parents=True)
    joints = np.empty((count, 14, 2))
    colours = {"left": (220, 60, 40), "right": (40, 80, 220), "centre": (240, 220, 60)}
    for i in range(count):
        w, h = (int(side) for side in rng.integers(60, 140, 2))
        joints[i] = rng.uniform(6, [w - 7, h - 7], (14, 2))
        image = Image.new("RGB", (w, h), tuple(int(c) for c in rng.integers(90, 160, 3)))
        draw = ImageDraw.Draw(image)
        for start, stop, side in LSP.limbs:
            draw.line([*joints[i, start], *joints[i, stop]], fill=colours[side], width=5)
        image.save(path / "images" / name.format(i + 1), quality=95)
    occluded = rng.random((count, 14)) < 0.1
    return Folder(path, joints, np.ones((count, 14), bool), occluded)
