"""The MATLAB files of Leeds Sports Pose and LSP Extended: joints.mat, and predictions of the same layout.

Files of the same layout may hold k other joints than LSP's 14.
"""

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64
from scipy.io import loadmat
from scipy.io.matlab import MatReadError
from scipy.sparse import issparse

from engine_jax.errors import UserError, listed
from engine_jax.image_files import READ_ERRORS

Kind = Literal["lsp", "lspet"]

# Of MATLAB's format, versions 5 to 7: the header's length and the types of elements.
_HEADER, _MATRIX, _COMPRESSED = 128, 14, 15
_TYPES = frozenset((1, 2, 3, 4, 5, 6, 7, 9, 12, 13, _MATRIX, 16, 17, 18))
# What scipy raises on bytes that aren't a complete MATLAB file of version 4 to 7: it doesn't check them first, and has
# no branch for a class of arrays that it doesn't know.
_UNREADABLE = (
    *(
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
        MatReadError,
        UnboundLocalError,
        struct.error,
    ),
    *READ_ERRORS,
)


def read_array(path: Path | zipfile.Path, variable: str) -> Float64[np.ndarray, "a b c"]:
    """A variable with three axes; a last axis of length 1, which MATLAB drops, is restored.

    Raises:
        UserError: the file isn't there or can't be read, or the variable isn't there or of another type or shape.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a MATLAB file with `{variable}`")
    try:
        data = path.read_bytes()
        _check_types(data)
        contents = loadmat(io.BytesIO(data), spmatrix=False)
    except _UNREADABLE as error:
        raise UserError(
            f"{path}: can't be read as a MATLAB file ({error}); accepted: versions up to 7, saved with -v7"
        ) from error
    names = sorted(name for name in contents if not name.startswith("__"))
    if variable not in names:
        raise UserError(f"{path}: no variable `{variable}`, found {listed(names) or 'none'}")
    array = contents[variable]
    if issparse(array):  # MATLAB's have two axes.
        raise UserError(
            f"{path}: `{variable}` is a sparse matrix of shape {list(array.shape)}; accepted: a full one, three axes"
        )
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        kind = getattr(array, "dtype", type(array).__name__)
        raise UserError(f"{path}: `{variable}` is of type {kind}; accepted: real numbers")
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or not array.size:
        raise UserError(f"{path}: `{variable}` has shape {list(array.shape)}; accepted: three axes")
    return array.astype(np.float64)


def _check_types(data: bytes) -> None:
    """Raises a ValueError if a file of version 5 to 7 has elements of unknown types, for which scipy may crash."""
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    position = _HEADER
    while order and position < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, position)
        element = data[position + 8 : position + 8 + size]
        if kind == _COMPRESSED:
            element = zlib.decompress(element)[8:]
        _check_elements(element, order)
        position += 8 + size


def _check_elements(data: bytes, order: str) -> None:
    position = 0
    while position < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, position)
        step = 8 + size + -size % 8
        if (
            kind >> 16
        ):  # A small element has its size beside its type, and its data in the next four bytes.
            kind, size, step = kind & 0xFFFF, kind >> 16, 8
        if kind not in _TYPES:
            raise ValueError(f"an element of type {kind}")
        if kind == _MATRIX:
            _check_elements(data[position + 8 : position + 8 + size], order)
        position += step


def read_joints(
    path: Path | zipfile.Path, k: int = 14
) -> tuple[Kind, Float64[np.ndarray, "n k 3"]]:
    """Which of the two data sets a joints.mat of k joints is laid out as, and each joint's x, y and flag.

    x and y are MATLAB's, which start at 1. The flag, 0 or 1, marks occluded joints in LSP and labelled ones in LSP
    Extended; it may be NaN where x or y is, in a joint that has no position.

    Raises:
        UserError: as `read_array` does, or for other numbers than these.
    """
    joints = read_array(path, "joints")
    kinds: dict[tuple[int, int], Kind] = {(k, 3): "lspet", (3, k): "lsp"}
    kind = kinds.get(joints.shape[:2])
    if kind is None:
        raise UserError(
            f"{path}: `joints` has shape {list(joints.shape)}; accepted: [3, {k}, n] (LSP) or [{k}, 3, n] "
            "(LSP Extended)"
        )
    joints = joints.transpose((2, 1, 0) if kind == "lsp" else (2, 0, 1))
    flags = joints[..., 2]
    missing = np.isnan(flags) & np.isnan(joints[..., :2]).any(-1)
    odd = flags[~np.isin(flags, (0, 1)) & ~missing]
    if len(odd):
        meaning = "occluded" if kind == "lsp" else "labelled"
        raise UserError(
            f"{path}: the third number of a joint ({meaning}) is {odd[0]}; accepted: 0 or 1"
        )
    return kind, joints


def labelled_joints(kind: Kind, joints: Float64[np.ndarray, "n k 3"]) -> Bool[np.ndarray, "n k"]:
    """Which joints have a position.

    LSP labels every joint, the occluded ones too, except those at exactly (0, 0): that is outside MATLAB's image and
    stands for a missing value in files of this layout. LSP Extended labels those with the flag 1, x > 0 and y > 0.
    """
    xy = joints[..., :2]
    finite = np.isfinite(xy).all(-1)
    if kind == "lsp":
        return finite & (xy != 0).any(-1)
    return finite & (joints[..., 2] == 1) & (xy > 0).all(-1)
