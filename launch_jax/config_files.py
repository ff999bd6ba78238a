"""Config files: Python files with a function `get_config(preset)`, found by path or, the project's own, by name."""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

from engine_jax.errors import UserError
from engine_jax.files import user_path

# In an installed package configs/ is inside of it; in the repository it is beside it.
_PACKAGE = Path(__file__).parent
FOLDER = next(path for path in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if path.is_dir())


def named() -> dict[str, Path]:
    """The project's own config files by name: "pose" is configs/pose.py."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.py"))}


def presets(path: Path) -> tuple[str, ...]:
    """The presets of one of the project's own config files; the first is the default."""
    return tuple(runpy.run_path(str(path))["PRESETS"])


def read(value: str) -> tuple[str, ConfigDict]:
    """A config's name and its values, from what follows --config on the command line.

    Args:
        value: "pose", "pose:small", "configs/pose.py" or "configs/pose.py:small".

    Raises:
        UserError: there is no such file, it has no `get_config`, or not this preset.
    """
    known = named()
    name, *preset = value.split(":", 1)
    accepted = f"{', '.join(known)}, or a file such as configs/pose.py, with :PRESET after it"
    if not name:
        raise UserError(f"--config: missing; accepted: {accepted}")
    path = known.get(name, user_path(name))
    if not path.is_file():
        raise UserError(f"--config: {name!r} is not a file; accepted: {accepted}")
    module = runpy.run_path(str(path))
    if "get_config" not in module:
        raise UserError(f"--config: {name!r} has no function get_config; accepted: {accepted}")
    try:
        return path.stem, module["get_config"](*preset)
    except ValueError as error:  # of an unknown preset
        raise UserError(f"--config={name}: {error}") from error
