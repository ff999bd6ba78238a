from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from engine_jax.config import AtLeastOne, Fraction, from_mapping
from engine_jax.errors import UserError


@dataclass(frozen=True)
class Inner:
    rate: Annotated[float, Fraction]
    sizes: tuple[Annotated[int, AtLeastOne], ...]


@dataclass(frozen=True)
class Outer:
    name: Literal["a", "b"]
    limit: Annotated[int, AtLeastOne] | None
    flag: bool
    inner: Inner


GOOD = {"name": "a", "limit": 3, "flag": True, "inner": {"rate": 0.5, "sizes": (1, 2)}}


def test_builds_nested_dataclasses():
    assert from_mapping(Outer, GOOD) == Outer("a", 3, True, Inner(0.5, (1, 2)))


def test_lists_and_whole_numbers_are_taken_where_tuples_and_floats_are_meant():
    built = from_mapping(Outer, GOOD | {"limit": None, "inner": {"rate": 1, "sizes": [4]}})
    assert built.limit is None
    assert built.inner == Inner(1.0, (4,))
    assert isinstance(built.inner.rate, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "c"}, r"config\.name: 'c' is not one of a, b"),
        ({"limit": 0}, r"config\.limit: 0 is out of range; accepted: >= 1"),
        ({"limit": True}, r"config\.limit: True is bool; accepted: int"),
        ({"flag": 1}, r"config\.flag: 1 is int; accepted: bool"),
        ({"inner": 3}, r"config\.inner: 3 is not a group"),
        ({"inner": {"rate": 1.5, "sizes": ()}}, r"config\.inner\.rate: 1\.5 .* >= 0 and <= 1"),
        (
            {"inner": {"rate": 1.0, "sizes": (1, 0)}},
            r"config\.inner\.sizes\[1\]: 0 is out of range",
        ),
        ({"inner": {"rate": 1.0}}, r"config\.inner\.sizes: missing"),
        ({"more": 1}, r"config\.more: no such field; config has name, limit, flag, inner"),
    ],
)
def test_an_error_names_the_field_and_what_it_takes(change, message):
    with pytest.raises(UserError, match=message):
        from_mapping(Outer, GOOD | change)
