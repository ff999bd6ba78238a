"""Checks of the networks' configs. Each raises UserError with the config's class, the field and what is accepted."""

from typing import Any, get_args

from engine_jax.errors import UserError


def field_error(config: Any, name: str, accepted: str) -> UserError:
    """The error for a field whose value isn't accepted."""
    return UserError(f"{type(config).__name__}.{name} is {getattr(config, name)!r}: use {accepted}")


def check_literals(config: Any, **kinds: Any) -> None:
    """Fields of a Literal type hold one of its values: `check_literals(config, norm=Norm)`."""
    for name, kind in kinds.items():
        if getattr(config, name) not in get_args(kind):
            raise field_error(config, name, ", ".join(map(repr, get_args(kind))))


def check_at_least(config: Any, low: int, *names: str) -> None:
    """Fields hold a number of at least `low`, or a tuple of such numbers."""
    for name in names:
        value = getattr(config, name)
        if min(value if isinstance(value, tuple) else (value,), default=low) < low:
            raise field_error(config, name, f"{low} or more")


def check_dropout(config: Any, *names: str) -> None:
    """Fields hold a share of at least 0 and below 1."""
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            raise field_error(config, name, "a share in [0, 1)")
