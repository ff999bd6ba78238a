"""From nested dicts to typed, frozen dataclasses, checked once at a package's edge.

A field that has a default may be missing from the dict. A run's configuration file has every field; the defaults are
for configurations in Python, and for runs that were stored before a field was added.
"""

import dataclasses
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from engine_jax.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """The numbers that a field accepts, for use as `Annotated[float, Range(0, 1)]`.

    `open_low` and `open_high` leave the end itself out.
    """

    low: float = float("-inf")
    high: float = float("inf")
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def __str__(self) -> str:
        low = f"{'>' if self.open_low else '>='} {self.low:g}"
        high = f"{'<' if self.open_high else '<='} {self.high:g}"
        ends = [
            end for end, bound in ((low, self.low), (high, self.high)) if abs(bound) != float("inf")
        ]
        return " and ".join(ends)


@dataclass(frozen=True)
class _Location:
    """Marks fields that say where data lie, which is not part of a run's identity."""


# A file or folder of data.
Location = Annotated[str, _Location()]

Positive = Range(low=0, open_low=True)
AtLeastZero = Range(low=0)
AtLeastOne = Range(low=1)
Fraction = Range(low=0, high=1)
Octaves = Range(low=0, high=10)  # log2 of a factor; of 1024 times the size nothing is left to see


def from_mapping(cls: type[T], values: Mapping[str, Any], path: str = "config") -> T:
    """Builds the dataclass `cls` from a nested mapping such as `ConfigDict.to_dict()` gives.

    Every field without a default must be there, every value of the type that its annotation gives (int, float, bool,
    str, Literal, X | None, tuple[X, ...], tuple[X, Y], Annotated[X, Range], or another dataclass), and no other field
    may be there.

    Args:
        cls: a dataclass.
        values: its fields.
        path: what to call `values` in an error.

    Raises:
        UserError: naming the field, what it holds and what it takes.
    """
    hints = get_type_hints(cls, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # pyright: ignore[reportArgumentType]
    for name in values:
        if name not in fields:
            raise UserError(f"{path}.{name}: no such field; {path} has {', '.join(fields)}")
    for name, field in fields.items():
        if name not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise UserError(f"{path}.{name}: missing")
    return cls(**{name: _convert(hints[name], values[name], f"{path}.{name}") for name in values})


def to_mapping(config: Any) -> dict[str, Any]:
    """The inverse of `from_mapping`, with every field."""
    return dataclasses.asdict(config)


def without_locations(config: T) -> T:
    """The configuration with every field of type `Location` empty, in all groups of fields."""
    changed = {}
    hints = get_type_hints(type(config), include_extras=True)
    for field in dataclasses.fields(config):  # pyright: ignore[reportArgumentType]
        value = getattr(config, field.name)
        if hints[field.name] == Location:
            changed[field.name] = ""
        elif dataclasses.is_dataclass(value):
            changed[field.name] = without_locations(value)
    return dataclasses.replace(config, **changed)  # pyright: ignore[reportArgumentType]


def differences(old: Any, new: Any, path: str = "config") -> list[str]:
    """Texts such as "config.seed: 0 there, 1 here" for the fields in which two configurations of one class differ.

    Fields of type `Location` don't count.
    """
    found = []
    hints = get_type_hints(type(old), include_extras=True)
    for field in dataclasses.fields(old):
        there, here = getattr(old, field.name), getattr(new, field.name)
        if hints[field.name] == Location or there == here:
            continue
        name = f"{path}.{field.name}"
        if dataclasses.is_dataclass(there) and type(there) is type(here):
            found += differences(there, here, name)
        else:
            found.append(f"{name}: {there!r} there, {here!r} here")
    return found


def _convert(hint: Any, value: Any, path: str) -> Any:
    """Checks one value against one annotation."""
    origin, args = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise UserError(f"{path}: {value!r} is not a group of fields")
        return from_mapping(hint, value, path)  # pyright: ignore[reportArgumentType]
    if origin is Annotated:
        converted = _convert(args[0], value, path)
        for number in converted if isinstance(converted, tuple) else (converted,):
            if isinstance(args[1], Range) and number is not None and number not in args[1]:
                raise UserError(f"{path}: {value!r} is out of range; accepted: {args[1]}")
        return converted
    if origin is Literal:
        if value not in args:
            raise UserError(f"{path}: {value!r} is not one of {', '.join(map(str, args))}")
        return value
    if origin in (Union, types.UnionType):
        if value is None and types.NoneType in args:
            return None
        (inner,) = [arg for arg in args if arg is not types.NoneType]
        return _convert(inner, value, path)
    if origin is tuple:
        return _convert_tuple(args, value, path)
    if hint is float and type(value) is int:
        return float(value)
    if hint is float and type(value) is float and not math.isfinite(value):
        raise UserError(f"{path}: {value!r}; accepted: a finite number")
    if type(value) is not hint:
        raise UserError(f"{path}: {value!r} is {type(value).__name__}; accepted: {hint.__name__}")
    return value


def _convert_tuple(args: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list):
        raise UserError(f"{path}: {value!r} is {type(value).__name__}; accepted: a tuple")
    hints = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
    if len(hints) != len(value):
        raise UserError(f"{path}: {value!r} has {len(value)} values; accepted: {len(hints)}")
    return tuple(
        _convert(hint, item, f"{path}[{i}]")
        for i, (hint, item) in enumerate(zip(hints, value, strict=True))
    )
