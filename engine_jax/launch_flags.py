"""Command line flags with errors that help: absl's and config_flags', checked before they can fail obscurely."""

from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from engine_jax.errors import UserError


def parse(argv: Sequence[str]) -> None:
    """Parses `argv` into the flags that the program has defined; one of them is a config file flag "config".

    Raises:
        UserError: naming the flag or config field, what it got and what it takes.
    """
    program, *arguments = argv
    config = _config(program, [argument for argument in arguments if _name(argument) == "config"])
    for argument in arguments:
        if _name(argument).startswith("config."):
            _check_field(config, _name(argument))
    try:
        left = flags.FLAGS(list(argv))[1:]
    except flags.Error as error:
        raise UserError(str(error)) from error
    if left:
        raise UserError(f"unexpected argument {left[0]!r}; flags are written --name=value")


def _config(program: str, arguments: Sequence[str]) -> ConfigDict:
    """The config as its file has it, read through flags of its own: parsing overrides defines flags."""
    accepted = "accepted: a file such as configs/pose.py, or configs/pose.py:PRESET"
    if not arguments:
        raise UserError(f"--config: missing; {accepted}")
    path = arguments[-1].partition("=")[2].partition(":")[0]
    if not Path(path).is_file():
        raise UserError(f"--config: {path!r} is not a file; {accepted}")
    probe = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", flag_values=probe)
    try:
        probe([program, *arguments])
    except ValueError as error:  # a config file's own word on its preset
        raise UserError(f"--config: {error}") from error
    return config.value


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
