"""The training program's flags, by absl and ml_collections, checked first where their own errors don't help."""

from collections.abc import Iterable, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from engine_jax.errors import UserError
from launch_jax import config_files


def parse(program: str, arguments: Sequence[str]) -> flags.FlagValues:
    """The values of all flags, and as `config` those of a config file with the changes of --config.FIELD=VALUE.

    Args:
        program: the name of the program.
        arguments: what follows it on the command line.

    Raises:
        UserError: naming the flag or config field, what it got and what it takes.
    """
    value, others = _split(arguments)
    name, config = config_files.read(value)
    # config_flags lets Python's own errors through for a field that isn't there.
    for argument in others:
        _check_field(config, argument)
    argv = [program, *(argument for argument in others if not _set_none(config, argument))]
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", "", "The run's folder.", flag_values=values)
    flags.DEFINE_bool(
        "redraw", False, "Draw the pictures of a finished run again.", flag_values=values
    )
    flags.DEFINE_bool("pictures", True, "Draw pictures of the results.", flag_values=values)
    flags.DEFINE_bool("debug", False, "Show tracebacks of user errors.", flag_values=values)
    flags.DEFINE_bool("distributed", False, "This is one of several hosts.", flag_values=values)
    flags.DEFINE_string(
        "coordinator", None, "Address of the first host's process.", flag_values=values
    )
    flags.DEFINE_integer("processes", None, "How many processes there are.", flag_values=values)
    flags.DEFINE_integer("process", None, "Which of them this is, from 0.", flag_values=values)
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
        left = values(argv)[1:]
    except flags.Error as error:
        raise UserError(str(error)) from error
    if left:
        raise UserError(f"unexpected argument {left[0]!r}; flags are written --name=value")
    values.workdir = values.workdir or f"runs/{name}-{values.config.preset}"
    return values


def _split(arguments: Iterable[str]) -> tuple[str, list[str]]:
    """The value of the last --config=VALUE or --config VALUE, "" without one; and all other arguments."""
    value, others = "", []
    remaining = iter(arguments)
    for argument in remaining:
        flag, equals, text = argument.partition("=")
        if flag in ("--config", "-config"):
            value = text if equals else next(remaining, "")
        else:
            others.append(argument)
    return value, others


def _check_field(config: ConfigDict, argument: str) -> None:
    """Raises a UserError if `argument` is an override, such as --config.data.dir=x, of a field that isn't there."""
    name = argument.partition("=")[0]
    field = name.lstrip("-").removeprefix("no")  # --noconfig.x is --config.x=False
    if not (argument.startswith("-") and field.startswith("config.")):
        return
    group, path = config, "config"
    for part in field.split(".")[1:]:
        if not isinstance(group, ConfigDict) or part not in group:
            there = (
                f"{path} has {', '.join(group)}"
                if isinstance(group, ConfigDict)
                else f"{path} is a single value"
            )
            raise UserError(f"{name}: no such field; {there}")
        group, path = group[part], f"{path}.{part}"


def _set_none(config: ConfigDict, argument: str) -> bool:
    """Applies an override such as --config.train.limit=None, which absl refuses for numbers; whether it was one."""
    name, _, text = argument.partition("=")
    *path, last = name.lstrip("-").split(".")
    if text != "None" or not path or path[0] != "config":
        return False
    group: Any = config
    for part in path[1:]:
        group = group[part]
    if group.get_type(last) is str:
        return False
    group[last] = None
    return True
