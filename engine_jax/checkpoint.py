"""Checkpoints of a run: the last states to resume from, and the best ones to use. The one importer of orbax."""

import gc
import logging
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from engine_jax import checksums
from engine_jax.errors import UserError, failed_computation, reason

T = TypeVar("T")

_KEPT = 2  # checkpoints of a folder; the one before the newest is there in case that one is damaged
# Seconds after an error in which the other arrays, read at the same time, raise theirs where nobody catches them.
_OTHERS = 0.5
_LATE = ("Event loop is closed", "Encountered error while reading array")


class DamagedError(UserError):
    """A checkpoint that can't be read, or holds other values than were saved."""


class Checkpoints:
    """Writes a folder of checkpoints, each a tree of arrays under its step; the two newest are kept.

    Saving is asynchronous: the arrays are copied off the device, then written while training goes on, and a
    checkpoint appears under its name when it is complete. What a killed run left unfinished is removed. One run
    writes a folder at a time; any number of others may read it meanwhile, by `restore`.

    Raises:
        UserError: when the folder can't be written to, on the call after the one that failed at the latest.
    """

    def __init__(self, folder: Path):
        self.folder = folder.absolute()
        self._saving = None
        self._remove_unfinished()
        with self._named_errors():
            self._checkpointer = ocp.training.Checkpointer(
                str(self.folder),
                preservation_policy=ocp.training.preservation_policies.LatestN(_KEPT),  # pyright: ignore[reportArgumentType]
            )

    def __enter__(self) -> "Checkpoints":
        self._quiet = ExitStack()
        self._quiet.enter_context(_late_errors_ignored())
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        with self._quiet:
            try:
                self.wait()
                with self._named_errors():
                    self._checkpointer.close()
            except Exception:
                if kind is None:
                    raise  # Else it is a consequence of the error that is on its way.

    def save(self, step: int, tree: Any) -> None:
        """Begins to write a checkpoint, which replaces one of the same step."""
        arrays = _flatten(tree)
        sealed = checksums.seal({name: checksums.describe(array) for name, array in arrays.items()})
        # A save that overwrites the step which is still being written would pull its files away.
        self.wait()
        with self._named_errors():
            self._saving = self._checkpointer.save_async(
                step, arrays, custom_metadata=sealed, force=True, overwrite=True
            )

    def wait(self) -> None:
        """Returns when all that was saved is on disk."""
        saving, self._saving = self._saving, None
        with self._named_errors():
            if saving is not None:
                saving.result()  # Ends the thread and the sockets that belong to a save.
            self._checkpointer.wait()

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # What orbax and tensorstore raise isn't documented.
            time.sleep(_OTHERS)
            self._remove_unfinished()
            if jax.process_count() > 1 and failed_computation(error):
                raise  # The processes wait for each other here; it says nothing of the folder.
            raise UserError(f"{self.folder}: can't be written ({reason(error)})") from error

    def _remove_unfinished(self) -> None:
        """Removes what a killed run, or a full disk, left; nobody takes it for a checkpoint."""
        if jax.process_index() == 0:
            for unfinished in self.folder.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(unfinished, ignore_errors=True)


def steps(folder: Path) -> list[int]:
    """The steps of the complete checkpoints in a folder, the newest first; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())[::-1]


def discard_after(folder: Path, step: int) -> None:
    """Deletes the checkpoints of later steps. Only for the run that writes the folder."""
    for later in steps(folder):
        if later > step:
            shutil.rmtree(folder / str(later))


def restore(folder: Path, like: T, step: int, optional: Collection[str] = ()) -> T:
    """Reads a checkpoint into a tree of the shapes, types and shardings of `like`, and changes no file.

    Args:
        folder: of the checkpoints.
        like: the tree.
        step: which checkpoint.
        optional: names, such as "progress.seconds", of leaves that keep their value in `like` where the checkpoint
            lacks them.

    Raises:
        DamagedError: when it can't be read or its values are not those that were saved.
        UserError: when it is not there, or holds another architecture.
    """
    path = folder.absolute() / str(step)
    held, entries = _open(path)
    wanted = _flatten(like)
    abstract = {
        name: _abstract(leaf)
        for name, leaf in wanted.items()
        if name in held or name not in optional
    }
    _check_architecture(path, held, abstract)
    arrays = _load(path, abstract, entries)
    found = [arrays.get(name, leaf) for name, leaf in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(like), found)


def restore_leaf(folder: Path, name: str, step: int) -> np.ndarray:
    """Reads one array of a checkpoint; raises as `restore` does."""
    path = folder.absolute() / str(step)
    held, entries = _open(path)
    if name not in held:
        raise DamagedError(f"{path}: this checkpoint is damaged (it lacks {name})")
    abstract: dict[str, Any] = dict.fromkeys(held, ...)
    abstract[name] = np.empty(held[name].shape, held[name].dtype)
    return np.asarray(_load(path, abstract, entries)[name])


def names(folder: Path, step: int) -> list[str]:
    """The names of a checkpoint's arrays; raises as `restore` does."""
    return list(_open(folder.absolute() / str(step))[0])


def newest(folder: Path, read: Callable[[int], T]) -> T | None:
    """What `read` makes of the newest checkpoint, or of the one before it if that is damaged, which a warning says.

    Args:
        folder: of the checkpoints.
        read: takes a step.

    Returns:
        None where there is no checkpoint.

    Raises:
        UserError: when all are damaged, or what `read` raises else.
    """
    damaged: list[DamagedError] = []
    for step in steps(folder):
        try:
            result = read(step)
        except DamagedError as error:
            damaged.append(error)
            continue
        if damaged:
            logging.warning("%s; the one before it, of step %d, is used", damaged[0], step)
        return result
    if damaged:
        raise UserError(
            f"{damaged[0]}, and none before it can be read; "
            f"to train this part of the run anew, delete {folder.parent}"
        )
    return None


def _open(path: Path) -> tuple[dict[str, Any], dict[str, checksums.Entry] | None]:
    """A checkpoint's shapes and types by name, and what its arrays should be; None before there were checksums."""
    if not path.is_dir():
        raise UserError(f"{path}: no complete checkpoint here")
    with _damage(path):
        metadata = ocp.metadata(str(path))
        if metadata.metadata is None:
            raise ValueError("its list of arrays can't be read")
        held = dict(metadata.metadata)
        entries = _entries(metadata.custom_metadata)
        if entries is not None and {n: tuple(e[1]) for n, e in entries.items()} != _shapes(held):
            raise ValueError("the shapes of its arrays have changed")
    return held, entries


def _load(
    path: Path, abstract: Mapping[str, Any], entries: Mapping[str, checksums.Entry] | None
) -> dict[str, Any]:
    """The arrays that are not `...`, after their checksums were compared."""
    with _damage(path):
        arrays = ocp.load(str(path), abstract)
        for name, entry in (entries or {}).items():
            if abstract.get(name, ...) is not ... and entry != checksums.describe(arrays[name]):
                raise ValueError(f"the values of {name} have changed")
    return arrays


def _entries(sealed: Any) -> dict[str, checksums.Entry] | None:
    """What the checkpoint's arrays should be; None for one of a version that did not keep checksums."""
    if not sealed:
        return None
    entries = checksums.unseal(sealed)
    if entries is None:
        raise ValueError("its checksums have changed")
    return entries


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Inside, all errors are a checkpoint's damage, and what libraries print about it is left out."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with _late_errors_ignored():
            yield
    except Exception as error:  # Orbax and tensorstore raise all kinds of errors.
        raise DamagedError(f"{path}: this checkpoint is damaged ({reason(error)})") from error
    finally:
        logger.setLevel(level)


@contextmanager
def _late_errors_ignored() -> Iterator[None]:
    """Inside, after an error, nothing is printed of the arrays that were read or written at the same time.

    Tensorstore reports them to an event loop that the first error has closed.
    """
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if not any(text in str(unraisable.exc_value) for text in _LATE):
            before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    except Exception:
        time.sleep(_OTHERS)
        gc.collect()  # Of what was not awaited.
        raise
    finally:
        sys.unraisablehook = before


def _check_architecture(path: Path, held: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    found, asked = _shapes(held), _shapes(wanted)
    differing = [
        f"{name} is {found.get(name, 'missing')} there, {asked.get(name, 'missing')} in the model"
        for name in sorted(found.keys() | asked.keys())
        if found.get(name) != asked.get(name)
    ]
    if differing:
        more = f"; {len(differing) - 3} more" if len(differing) > 3 else ""
        raise UserError(
            f"{path}: checkpoint of another architecture ({'; '.join(differing[:3])}{more})"
        )


def _shapes(leaves: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(leaf.shape) for name, leaf in leaves.items()}


def _flatten(tree: Any) -> dict[str, Any]:
    """A tree's leaves under their paths: what is on disk doesn't depend on the containers' classes."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): (
            leaf if isinstance(leaf, jax.Array | jax.ShapeDtypeStruct) else np.asarray(leaf)
        )
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    }


def _abstract(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
    return leaf
