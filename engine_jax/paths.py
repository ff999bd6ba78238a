"""Paths that users give, and the files behind them."""

import os
import stat
from pathlib import Path

from engine_jax.errors import UserError


def user_path(path: str | Path) -> Path:
    """The path with ~ as the home folder, which shells leave to programs in --workdir=~/run.

    Raises:
        UserError: ~NAME of a user that isn't there.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{path}: {error}") from error


def read_file(path: Path) -> bytes:
    """The bytes of a regular file.

    Raises:
        OSError: it can't be read, or isn't a file: pipes and devices might never end.
    """
    if path.is_symlink() and not path.exists():
        raise FileNotFoundError(f"a broken link, to {os.readlink(path)}")
    if path.is_dir():
        raise IsADirectoryError("a folder")
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("neither a file nor a folder")
    return path.read_bytes()


def make_folder(path: str | Path, flag: str) -> Path:
    """The folder that a flag names, made if it isn't there.

    Raises:
        UserError: it can't be made, or is a file.
    """
    folder = user_path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{flag}={path}: can't be made ({error.strerror or error})") from error
    return folder
