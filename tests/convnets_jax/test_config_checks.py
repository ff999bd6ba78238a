from dataclasses import dataclass
from typing import Literal

import pytest

from convnets_jax.config_checks import check_at_least, check_dropout, check_literals
from engine_jax.errors import UserError

Colour = Literal["red", "blue"]


@dataclass(frozen=True)
class Config:
    colour: Colour = "red"
    sizes: tuple[int, ...] = (1, 2)
    blocks: int = 0
    dropout: float = 0.0

    def __post_init__(self):
        check_literals(self, colour=Colour)
        check_at_least(self, 1, "sizes")
        check_at_least(self, 0, "blocks")
        check_dropout(self, "dropout")


def test_values_at_the_bounds_pass():
    Config("blue", (), 0, 0.999)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "green"}, r"^Config\.colour is 'green': use 'red', 'blue'$"),
        ({"sizes": (3, 0)}, r"^Config\.sizes is \(3, 0\): use 1 or more$"),
        ({"blocks": -1}, r"^Config\.blocks is -1: use 0 or more$"),
        ({"dropout": 1.0}, r"^Config\.dropout is 1\.0: use a share in \[0, 1\)$"),
        ({"dropout": -0.1}, r"^Config\.dropout is -0\.1: "),
    ],
)
def test_other_values_name_the_field_and_what_it_accepts(change, message):
    with pytest.raises(UserError, match=message):
        Config(**change)
