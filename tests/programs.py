"""Command line programs, called in this process."""

import sys
from types import ModuleType
from typing import Any

import pytest

from engine_jax import cli


def call(program: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> Any:
    """The exit status of a module's `main` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["program", *map(str, arguments)])
    try:
        cli.run(program.main, program.parser())
    except SystemExit as stopped:
        return stopped.code
    return 0
