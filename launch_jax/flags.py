"""Command line flags by absl and ml_collections, checked first where their own errors don't help."""

from collections.abc import Iterable, Sequence

from absl import flags
from ml_collections import ConfigDict, config_flags

from engine_jax.errors import UserError
from launch_jax import config_files


def parse(program: str, arguments: Sequence[str]) -> tuple[str, ConfigDict]:
    """Parses the flags that are defined, and --config with the values that --config.FIELD=VALUE changes.

    Args:
        program: the name of the program.
        arguments: the command line without it.

    Returns:
        The config's name, which is its file's without ".py", and its values.

    Raises:
        UserError: naming the flag or config field, what it got and what it takes.
    """
    value, others = _split(arguments)
    name, config = config_files.read(value)
    # config_flags lets Python's own errors through for a field that isn't there.
    for argument in others:
        _check_field(config, argument)
    argv = [program, *others]
    try:
        holder = config_flags.DEFINE_config_dict("config", config, sys_argv=argv)
        left = flags.FLAGS(argv)[1:]
    except flags.Error as error:
        raise UserError(str(error)) from error
    if left:
        raise UserError(f"unexpected argument {left[0]!r}; flags are written --name=value")
    return name, holder.value


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
