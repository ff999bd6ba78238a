"""Command line flags with errors that help: absl's and config_flags', checked before they can fail obscurely."""

import runpy
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from engine_jax.errors import UserError


def parse(argv: Sequence[str]) -> None:
    """Parses `argv` into the flags that the program has defined; one of them is a config file flag "config".

    Raises:
        UserError: naming the flag or config field, what it got and what it takes.
    """
    # config_flags lets Python's own errors through for a field or preset that isn't there, so that
    # these are looked at first.
    config = _read_config([argument for argument in argv[1:] if _name(argument) == "config"])
    for argument in argv[1:]:
        if _name(argument).startswith("config."):
            _check_field(config, _name(argument))
    try:
        left = flags.FLAGS(list(argv))[1:]
    except flags.Error as error:
        raise UserError(str(error)) from error
    if left:
        raise UserError(f"unexpected argument {left[0]!r}; flags are written --name=value")


def _read_config(arguments: Sequence[str]) -> ConfigDict:
    """The config as its file has it, without overrides."""
    accepted = "accepted: a file such as configs/pose.py, or configs/pose.py:PRESET"
    if not arguments:
        raise UserError(f"--config: missing; {accepted}")
    path, *preset = arguments[-1].partition("=")[2].split(":", 1)
    if not Path(path).is_file():
        raise UserError(f"--config: {path!r} is not a file; {accepted}")
    try:
        return runpy.run_path(path)["get_config"](*preset)
    except (KeyError, ValueError) as error:  # no get_config, or its own word on the preset
        raise UserError(f"--config={path}: {error}") from error


def _name(argument: str) -> str:
    """The name of --name=value or -name=value; "" for anything else."""
    return argument.partition("=")[0].lstrip("-") if argument.startswith("-") else ""


def _check_field(config: ConfigDict, name: str) -> None:
    """Raises a UserError unless `name`, such as "config.data.dir", is a field of the config."""
    group, path = config, "config"
    for part in name.split(".")[1:]:
        if not isinstance(group, ConfigDict) or part not in group:
            there = (
                f"{path} has {', '.join(group)}"
                if isinstance(group, ConfigDict)
                else f"{path} is a single value"
            )
            raise UserError(f"--{name}: no such field; {there}")
        group, path = group[part], f"{path}.{part}"
