"""Paths that users give: reading regular files only, writing whole or not at all, and one-line errors."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from engine_jax.errors import UserError, reason


def user_path(path: str | Path) -> Path:
    """The path with ~ as the home folder, which shells leave to programs in --workdir=~/run.

    Raises:
        UserError: ~NAME of a user that isn't there.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{path}: {error}") from error


def check_regular(path: Path) -> None:
    """Makes sure that a path is a regular file's, before anything opens it: pipes and devices might never end.

    Raises:
        OSError: it is not, or nothing is there.
    """
    if path.is_symlink() and not path.exists():
        raise FileNotFoundError(f"a broken link, to {os.readlink(path)}")
    if path.is_dir():
        raise IsADirectoryError("a folder")
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("neither a file nor a folder")


def read_file(path: Path) -> bytes:
    """The bytes of a regular file.

    Raises:
        OSError: it can't be read, or `check_regular` refuses it.
    """
    check_regular(path)
    return path.read_bytes()


def write_file(path: Path, data: bytes | str | Callable[[BinaryIO], object]) -> None:
    """Writes a file whole or not at all: a killed program or a full disk leaves the earlier file or none.

    Args:
        path: of the file.
        data: what it is to hold, or a function that writes it to the open file.

    Raises:
        UserError: when it can't be written.
    """
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            if callable(data):
                data(file)
            else:
                file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(f"{path}: can't be written ({reason(error)})") from error


def make_folder(path: Path) -> None:
    """Makes a folder and those above it, unless it is there.

    Raises:
        UserError: when it can't be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: this folder can't be made ({reason(error)})") from error


def check_folder(path: Path) -> bool:
    """Whether a folder is there; if not, that it could be made.

    Raises:
        UserError: when the path is a file, below a file, a link to nothing or to itself, or too long, or the folder
            can't be written to.
    """
    try:
        found = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise UserError(
                f"{path}: is a link to {os.readlink(path)}, which isn't there"
            ) from None
        above = path.absolute().parent
        if above != path.absolute():
            check_folder(above)
        return False
    except OSError as error:
        raise UserError(f"{path}: can't be a folder ({reason(error)})") from error
    if not stat.S_ISDIR(found):
        raise UserError(f"{path}: is not a folder")
    if not os.access(path, os.W_OK | os.X_OK):
        raise UserError(f"{path}: can't be written to")
    return True
