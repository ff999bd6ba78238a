"""Skeletons as JSON: stored with a run and in a model's file, so that its joints keep their meaning."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from deeppose_jax.skeleton import LSP, Skeleton, Stick, make_skeleton
from deeppose_jax.skeletons import NAMED
from engine_jax.errors import UserError, listed, reason
from engine_jax.files import user_path
from engine_jax.run_folder import read_json, write_json

NAME = "skeleton.json"  # in a run's folder
_SHORT = frozenset(("joints", "limbs", "pairs", "sigmas"))


def to_json(skeleton: Skeleton) -> dict[str, Any]:
    """The skeleton's attributes, as JSON can hold them."""
    return _lists(asdict(skeleton))


def from_json(stored: Any, where: str) -> Skeleton:
    """The skeleton that `to_json` gave.

    Args:
        stored: JSON.
        where: what to call it in an error.

    Raises:
        UserError: it is no skeleton, or contradicts itself.
    """
    names = {field.name for field in fields(Skeleton)}
    if not isinstance(stored, Mapping) or not stored.keys() <= names:
        raise UserError(
            f"{where}: no skeleton; accepted: an object with {', '.join(sorted(names))}"
        )
    try:
        values = dict(stored)
        values["sticks"] = tuple(
            Stick(stick["part"], _indices(stick["start"]), _indices(stick["stop"]))
            for stick in values["sticks"]
        )
        values["limbs"] = tuple((*_indices(limb[:2]), limb[2]) for limb in values["limbs"])
        values["swap"] = _indices(values["swap"])
        for name in ("torso", "head"):
            if values.get(name) is not None:
                values[name] = _indices(values[name])
        for name in ("joint_groups", "stick_groups"):
            groups = values.get(name, {})
            values[name] = {row: _indices(members) for row, members in groups.items()}
        values["part_groups"] = {row: tuple(parts) for row, parts in values["part_groups"].items()}
        values["joints"] = tuple(values["joints"])
        if values.get("sigmas") is not None:
            values["sigmas"] = tuple(float(sigma) for sigma in values["sigmas"])
        return Skeleton(**values)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(f"{where}: no skeleton ({reason(error)})") from error


def named_skeleton(name: str) -> Skeleton:
    """A well-known skeleton, or that of a file.

    Args:
        name: "lsp", which "" stands for too, "coco", "mpii" or "flic"; or the path of a JSON file: `skeleton.json` of a
            run's folder, or an object with "joints" and, as `make_skeleton` takes them, "limbs", "pairs" and "sigmas".

    Raises:
        UserError: there is no such file, or it holds no skeleton, or one that contradicts itself.
    """
    if (name or "lsp") in NAMED:
        return NAMED[name or "lsp"]
    path = user_path(name)
    if not path.is_file():
        raise UserError(
            f"{name}: no such skeleton; accepted: {listed(list(NAMED))}, or a JSON file"
        )
    stored = read_json(path)
    if not isinstance(stored, Mapping) or not {"joints"} <= stored.keys() <= _SHORT:
        return from_json(stored, str(path))
    try:
        return make_skeleton(**{**stored, "joints": tuple(stored["joints"])})
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: no skeleton ({reason(error)})") from error


def read_skeleton(workdir: Path) -> Skeleton:
    """The skeleton of a run's folder; LSP's where none is stored, as in runs of earlier versions.

    Raises:
        UserError: the file can't be read or holds no skeleton.
    """
    path = workdir / NAME
    return from_json(read_json(path), str(path)) if path.exists() else LSP


def write_skeleton(workdir: Path, skeleton: Skeleton) -> None:
    """Stores the skeleton in a run's folder."""
    write_json(workdir / NAME, to_json(skeleton))


def check_skeleton(workdir: Path, skeleton: Skeleton) -> None:
    """Checks that a run's folder, if it holds a skeleton, holds this one.

    Raises:
        UserError: it holds another.
    """
    path = workdir / NAME
    if not path.exists():
        return
    there, here = to_json(read_skeleton(workdir)), to_json(skeleton)
    for name, value in here.items():
        if there[name] != value:
            raise UserError(
                f"{path}: holds a run of another skeleton ({name}: {there[name]} there, {value} here); give the same "
                "data to resume it, or another --workdir"
            )


def _indices(values: Any) -> tuple[int, ...]:
    if not all(type(value) is int for value in values):
        raise TypeError(f"{values} are not indices of joints")
    return tuple(values)


def _lists(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, tuple | list) else value
