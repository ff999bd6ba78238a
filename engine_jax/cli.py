"""How every command line program of this project starts, and how it ends on an error."""

import argparse
import io
import math
import re
import sys
from collections.abc import Callable, Sequence

from engine_jax.errors import UserError, reason
from engine_jax.interruption import Interrupted, heeded


def guard(program: Callable[[], None], *, debug: bool) -> None:
    """Runs a program; an error that the user can do something about becomes one line and exit status 1.

    Args:
        program: what to run.
        debug: let the error through with its traceback instead.

    Raises:
        SystemExit: with status 1 after a UserError or what the system refused, such as memory or a file on a full disk;
            with 130 after Ctrl-C and 143 after SIGTERM.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # Names that its encoding lacks end no program.
            stream.reconfigure(errors="backslashreplace")
    try:
        with heeded():
            program()
    except (UserError, OSError, MemoryError) as error:
        # What the system refuses is no defect: each has a number.
        if debug or (isinstance(error, OSError) and error.errno is None):
            raise
        where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        said = f"{where}{reason(error)}" if isinstance(error, OSError) else str(error)
        said = f"not enough memory: {said}" if isinstance(error, MemoryError) else said
        print(f"error: {' '.join(said.split())}", file=sys.stderr)
        raise SystemExit(1) from None
    except Interrupted as interrupted:
        said = "; ".join((f"interrupted by {interrupted}", *getattr(interrupted, "__notes__", ())))
        print(said, file=sys.stderr)
        raise SystemExit(interrupted.status) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None


def run(main: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser) -> None:
    """Parses the command line, adds --debug to it, and runs `main` under `guard`.

    Raises:
        SystemExit: as `guard` does, and with status 2 after an argument that is refused, in one line.
    """
    parser.add_argument("--debug", action="store_true", help="show tracebacks of user errors")
    parser.print_usage = lambda file=None: None  # Else it stands above that line.
    args = parser.parse_intermixed_args(_joined(sys.argv[1:]))
    guard(lambda: main(args), debug=args.debug)


def finite(text: str) -> float:
    """A finite number on a command line.

    Raises:
        argparse.ArgumentTypeError: any other text.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r}; accepted: a finite number")
    return value


def _joined(arguments: Sequence[str]) -> list[str]:
    """The arguments with a flag and its negative value as one: of --box -5,0,9,9 argparse takes both for flags."""
    joined: list[str] = []
    for argument in arguments:
        if (
            joined
            and re.match(r"-([\d.]|inf|nan)", argument)
            and re.fullmatch(r"--[\w-]+", joined[-1])
        ):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined
