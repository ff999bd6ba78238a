"""A lock on a run's folder, which the system releases when the process that holds it ends, however it ends."""

import errno
import os
from pathlib import Path

from engine_jax.errors import UserError, reason

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

NAME = "lock"

# File descriptors of the locks that this process holds.
_held: dict[Path, int] = {}


def acquire(folder: Path) -> None:
    """Locks a folder for this process. Where the file system has no locks, as some network folders, nothing is done.

    Raises:
        UserError: when another process holds the lock.
    """
    path = (folder / NAME).resolve()
    if path in _held:
        return
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"{path}: can't be written ({reason(error)})") from error
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            os.close(file)
            raise UserError(
                f"{folder}: another process is running here; wait for its end or give another --workdir"
            ) from None
    _held[path] = file


def release(folder: Path) -> None:
    """Unlocks a folder that this process has locked."""
    file = _held.pop((folder / NAME).resolve(), None)
    if file is not None:
        os.close(file)


def check(folder: Path) -> None:
    """Raises as `acquire` does where another process holds the lock, and keeps none."""
    path = (folder / NAME).resolve()
    if path.exists() and path not in _held:
        acquire(folder)
        release(folder)
