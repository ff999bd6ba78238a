"""Checkpoints of a run: the last state to resume from, and the best one to use. The one importer of orbax."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from engine_jax.errors import UserError

T = TypeVar("T")


class Checkpoints:
    """A folder of checkpoints, each a tree of arrays under its step; saving one deletes the one before it.

    Saving is asynchronous: the arrays are copied off the device, then written while training goes on, and a
    checkpoint appears under its name when it is complete.
    """

    def __init__(self, folder: Path):
        self.folder = folder.absolute()
        self._checkpointer = ocp.training.Checkpointer(
            str(self.folder),
            preservation_policy=ocp.training.preservation_policies.LatestN(1),  # pyright: ignore[reportArgumentType]
            cleanup_tmp_directories=True,
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exc: object) -> None:
        self._checkpointer.close()

    @property
    def latest_step(self) -> int | None:
        """The newest complete checkpoint's step, or None."""
        self._checkpointer.wait()
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def save(self, step: int, tree: Any) -> None:
        """Begins to write a checkpoint, which replaces one of the same step."""
        # A save that overwrites the step which is still being written would pull its files away.
        self._checkpointer.wait()
        self._checkpointer.save_async(step, _flatten(tree), force=True, overwrite=True)

    def restore(self, like: T, step: int | None = None) -> T:
        """Reads a checkpoint into a tree of the shapes, types and shardings of `like`.

        Raises:
            UserError: when there is no checkpoint, or it holds another architecture.
        """
        if self.latest_step is None:
            raise UserError(f"{self.folder}: no complete checkpoint here")
        wanted = _flatten(like)
        self._check_architecture(wanted, step)
        abstract = {name: _abstract(leaf) for name, leaf in wanted.items()}
        arrays = self._checkpointer.load(step, abstract)
        return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in wanted])

    def _check_architecture(self, wanted: Mapping[str, Any], step: int | None) -> None:
        held = self._checkpointer.metadata(step).metadata
        found = {name: tuple(leaf.shape) for name, leaf in held.items()}
        asked = {name: tuple(leaf.shape) for name, leaf in wanted.items()}
        differing = [
            f"{name} is {found.get(name, 'missing')} there, {asked.get(name, 'missing')} in the model"
            for name in sorted(found.keys() | asked.keys())
            if found.get(name) != asked.get(name)
        ]
        if differing:
            more = f"; {len(differing) - 3} more" if len(differing) > 3 else ""
            raise UserError(
                f"{self.folder}: checkpoint of another architecture ({'; '.join(differing[:3])}{more})"
            )


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
