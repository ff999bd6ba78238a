"""Checks the array shapes and element types that annotations name, at every call in tests."""

from collections.abc import Callable
from types import UnionType
from typing import Any, Union, get_args, get_origin

import jax
import numpy as np
from beartype import beartype
from jaxtyping import AbstractArray


def checked(function: Callable) -> Callable:
    """The function with those of its annotations checked that name a shape."""
    # While JAX maps over a dataclass, its fields hold anything.
    hints = {} if function.__name__ == "__init__" else function.__annotations__
    function.__annotations__ = {
        name: _either_library(hint) for name, hint in hints.items() if _names_a_shape(hint)
    }
    return beartype(function) if function.__annotations__ else function


def _names_a_shape(hint: Any) -> bool:
    if get_origin(hint) in (tuple, Union, UnionType):
        return any(_names_a_shape(part) for part in get_args(hint))
    return isinstance(hint, type) and issubclass(hint, AbstractArray)


def _either_library(hint: Any) -> Any:
    """The same shapes and element types, of NumPy's arrays and scalars as well as of JAX's arrays."""
    if not _names_a_shape(hint):
        return hint
    if get_origin(hint) is tuple:
        return tuple[tuple(_either_library(part) for part in get_args(hint))]
    if get_args(hint):
        return Union[tuple(_either_library(part) for part in get_args(hint))]  # noqa: UP007
    return hint.dtype[jax.Array | np.ndarray | np.generic, hint.dim_str]
