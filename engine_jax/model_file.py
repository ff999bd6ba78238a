"""A trained model in one file: its weights and the configuration that it is built from, as safetensors."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax import nnx

from engine_jax.errors import UserError, reason
from engine_jax.files import read_file, write_file
from engine_jax.state import abstract_model, variable_name, variables_by_name

M = TypeVar("M", bound=nnx.Module)

_CONFIG = "config"  # the entry of the file's metadata that holds the configuration as JSON


def write(path: Path, config: Mapping[str, Any], model: nnx.Module, half: bool = False) -> None:
    """Writes a model's variables, under their paths in it, and its configuration; whole or not at all.

    Args:
        path: the file.
        config: JSON that says what the model is built from.
        model: with float32 variables.
        half: store float32 numbers as float16.

    Raises:
        UserError: when the file can't be written, or a number is beyond float16.
    """
    arrays = {name: np.asarray(leaf) for name, leaf in variables_by_name(model).items()}
    if half:
        arrays = {name: _halved(array, name) for name, array in arrays.items()}
    written = safetensors.numpy.save(arrays, {_CONFIG: json.dumps(config)})
    write_file(path, written)


def read_config(path: Path) -> dict[str, Any]:
    """The configuration in a file that `write` wrote.

    Raises:
        UserError: when the file can't be read, is damaged, or holds none.
    """
    _read(path)  # The whole file is checked, before anything is built.
    with safetensors.safe_open(path, "numpy") as file:
        text = (file.metadata() or {}).get(_CONFIG)
    try:
        config = json.loads(text or "")
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise UserError(f"{path}: holds weights without the configuration of a model")
    return config


def read_model(path: Path, build: Callable[..., M]) -> M:
    """The model that `build` makes, in its evaluation form, with the variables in a file that `write` wrote.

    Args:
        path: the file.
        build: makes the model from its random streams, `rngs`.

    Raises:
        UserError: when the file can't be read or is damaged, or its variables are of another architecture.
    """
    arrays = _read(path)
    model = abstract_model(build)
    model.eval()
    graphdef, variables = nnx.split(model)
    expected = {name: leaf.shape for name, leaf in variables_by_name(model).items()}
    found = {name: array.shape for name, array in arrays.items()}
    if found != expected:
        name = min(name for name in expected | found if expected.get(name) != found.get(name))
        raise UserError(
            f"{path}: {name} is {found.get(name, 'missing')}; its configuration takes {expected.get(name, 'none')}"
        )

    def filled(variable_path: Any, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        return jnp.asarray(arrays[variable_name(variable_path)], leaf.dtype)

    return nnx.merge(graphdef, jax.tree_util.tree_map_with_path(filled, variables))


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load(read_file(path))
    except OSError as error:
        raise UserError(f"{path}: can't be read ({reason(error)})") from error
    except safetensors.SafetensorError as error:
        raise UserError(f"{path}: no safetensors file, or a damaged one ({error})") from error


def _halved(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype != np.float32:
        return array
    with np.errstate(over="ignore"):
        halved = array.astype(np.float16)
    if np.isfinite(array).all() and not np.isfinite(halved).all():
        raise UserError(f"{name}: holds {np.abs(array).max():g}; 16 bits end at 65504")
    return halved
