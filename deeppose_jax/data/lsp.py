"""Leeds Sports Pose and LSP Extended, read from the archives as they were published.

    lsp_dataset.zip, lsp_dataset_original.zip   2,000 images    joints.mat [3, 14, 2000]
    lspet_dataset.zip                           10,000 images   joints.mat [14, 3, 10000]

Both hold images/imNNNN.jpg beside joints.mat, in MATLAB's coordinates, which start at 1. They
differ in more than the order of the axes: the third number of a joint is "occluded" in LSP and
"labelled" in LSP Extended.

Sources: Johnson and Everingham, "Clustered Pose and Nonlinear Appearance Models for Human Pose
Estimation" (BMVC 2010) and "Learning Effective Human Pose Estimation from Inaccurate Annotation"
(CVPR 2011).
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from deeppose_jax.data.mat_files import Kind, labelled_joints, read_joints
from deeppose_jax.data.record import Record
from engine_jax.errors import UserError, listed
from engine_jax.file_tree import (
    Folder,
    folders_in,
    names_below,
    open_root,
    reader,
    warn_of_unused,
)
from engine_jax.files import user_path
from engine_jax.image_files import is_hidden

Labels = Literal["PC", "OC"]
TITLES: dict[Kind, str] = {"lsp": "LSP", "lspet": "LSP Extended"}
ARCHIVES = ("lsp_dataset.zip", "lsp_dataset_original.zip", "lspet_dataset.zip")
OBSERVER_CENTRIC = ("joints_observer_centric.mat", "LSP-joints-OC.mat")

_IMAGE_NAME = re.compile(r"im(\d+)\.(jpe?g|png)", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class _Source:
    """A folder that holds joints.mat and images/, and the array in the former."""

    kind: Kind
    folder: Folder
    joints: np.ndarray  # [n, k, 3]


def open_lsp(path: str | Path, labels: Labels = "PC", k: int = 14) -> list[Record]:
    """Opens LSP: an unpacked folder or a zip, or a folder one level above either.

    Every joint is labelled, the occluded ones too; only a joint at exactly (0, 0) in the file,
    which is outside MATLAB's image and stands for a missing value in files of this layout, counts
    as unlabelled.

    Args:
        path: the folder or zip.
        labels: "PC", person-centric (joints.mat: left is the person's left), or "OC",
            observer-centric (left is the viewer's left, from joints_observer_centric.mat or
            LSP-joints-OC.mat beside it).
        k: joints of a person; of folders like LSP's with others than its 14.

    Raises:
        UserError: the data set isn't there, or isn't usable.
    """
    return open_folder(path, labels, k, kind="lsp")[1]


def open_lsp_extended(path: str | Path) -> list[Record]:
    """Opens LSP Extended: an unpacked folder or a zip, or a folder one level above either.

    A joint is labelled where the file's flag is 1 and x > 0 and y > 0 in the file's coordinates.

    Raises:
        UserError: the data set isn't there, or isn't usable.
    """
    return open_folder(path, kind="lspet")[1]


def open_folder(
    path: str | Path, labels: Labels = "PC", k: int = 14, *, kind: Kind | None = None
) -> tuple[Kind, list[Record]]:
    """Opens whichever of the two data sets is there, told apart by the shape of joints.mat.

    Args:
        path: a folder or zip that holds joints.mat and images/, or a folder one level above.
        labels: as in `open_lsp`; LSP Extended has "PC" only.
        k: as in `open_lsp`.
        kind: accept this data set only.

    Raises:
        UserError: nothing usable there, or more than one data set, or not the one that was asked
        for.
    """
    source = _find(user_path(path), kind, k)
    if labels == "OC" and source.kind == "lsp":
        source = _observer_centric(source)
    elif labels != "PC":
        accepted = '"PC" or "OC"' if source.kind == "lsp" else '"PC"'
        raise UserError(f"labels: got {labels!r}; {TITLES[source.kind]} takes {accepted}")
    labelled = labelled_joints(source.kind, source.joints)
    flags = source.joints[..., 2] == 1
    return source.kind, [
        Record(
            image.name,
            reader(image),
            source.joints[i, :, :2] - 1,  # MATLAB's pixels start at 1.
            labelled[i],
            flags[i] if source.kind == "lsp" else None,
        )
        for i, image in enumerate(_images(source))
    ]


def _find(path: Path, kind: Kind | None, k: int) -> _Source:
    """The data set at `path`, or the only fitting one below it: unpacked folders go first."""
    if not path.exists():
        raise UserError(f"{path}: not found; expected a folder or zip with LSP or LSP Extended")
    root = open_root(path)
    found = [_read(folder, k) for folder in _with_joints(root)]
    fitting = [source for source in found if kind in (None, source.kind)]
    if not fitting and path.is_dir():
        archives = [open_root(path / name) for name in ARCHIVES if (path / name).is_file()]
        found += [_read(folder, k) for archive in archives for folder in _with_joints(archive)]
        fitting = [source for source in found if kind in (None, source.kind)]
    if not found:
        seen = listed(sorted(c.name for c in root.iterdir() if not is_hidden(c.name)), 5)
        raise UserError(
            f"{path}: no joints.mat, neither here nor one folder below nor in an archive named "
            f"{', '.join(ARCHIVES)}; found {seen or 'nothing'}"
        )
    if not fitting:
        wanted = TITLES[kind] if kind else "a data set"
        raise UserError(f"{found[0].folder}: found {TITLES[found[0].kind]}; expected {wanted}")
    if len(fitting) > 1:
        places = ", ".join(str(source.folder) for source in fitting)
        raise UserError(f"{path}: holds more than one data set ({places}); name one of them")
    return fitting[0]


def _with_joints(root: Folder) -> list[Folder]:
    """`root` itself, or the folders right below it, where a joints.mat is."""
    if (root / "joints.mat").is_file():
        return [root]
    return [folder for folder in folders_in(root) if (folder / "joints.mat").is_file()]


def _read(folder: Folder, k: int) -> _Source:
    kind, joints = read_joints(folder / "joints.mat", k)
    return _Source(kind, folder, joints)


def _observer_centric(source: _Source) -> _Source:
    for name in OBSERVER_CENTRIC:
        if (source.folder / name).is_file():
            kind, joints = read_joints(source.folder / name, source.joints.shape[1])
            if kind != "lsp" or len(joints) != len(source.joints):
                raise UserError(
                    f"{source.folder / name}: {len(joints)} {TITLES[kind]} poses; "
                    f"expected {len(source.joints)} LSP poses, as in joints.mat"
                )
            return _Source("lsp", source.folder, joints)
    raise UserError(
        f"{source.folder}: no observer-centric labels; expected {' or '.join(OBSERVER_CENTRIC)}"
    )


def _images(source: _Source) -> list[Folder]:
    """The images in the order of the joints: the i-th is numbered i, from 1."""
    folder = source.folder / "images"
    if not folder.is_dir():  # As in the high-resolution LSP Extended.
        folder = source.folder
    numbered: dict[int, Folder] = {}
    for file in folder.iterdir():
        if match := _IMAGE_NAME.fullmatch(file.name):
            number = int(match[1])
            if number in numbered:
                raise UserError(f"{folder}: {file.name} and {numbered[number].name} share a number")
            numbered[number] = file
    count = len(source.joints)
    if not numbered:
        raise UserError(
            f"{source.folder}: no images imN.jpg or .png in images/ or beside joints.mat"
        )
    if len(numbered) != count:
        raise UserError(
            f"{folder}: {len(numbered)} images named imN.jpg or .png, but joints.mat has {count} "
            "poses; expected one image for each"
        )
    missing = sorted(set(range(1, count + 1)) - numbered.keys())
    if missing:
        raise UserError(f"{folder}: no image numbered {missing[0]}; expected 1 to {count}")
    images = [numbered[number] for number in range(1, count + 1)]
    above = "" if folder == source.folder else "images/"
    used = {f"{above}{image.name}" for image in images} | {"joints.mat", *OBSERVER_CENTRIC}
    warn_of_unused(source.folder, names_below(source.folder, 2), used)
    return images
