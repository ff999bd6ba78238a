"""Networks of `zoo` by their own names, with few channels."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

from convnets_jax import zoo
from engine_jax.state import forget_traced


@contextmanager
def narrow(name: str, config: Any) -> Iterator[None]:
    """The network of this name is of another configuration."""
    forget_traced()
    with mock.patch.dict(zoo.MODELS, {name: replace(zoo.MODELS[name], config=config)}):
        yield
    forget_traced()
