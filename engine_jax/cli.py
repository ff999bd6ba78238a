"""How every command line program of this project starts and how it fails."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from engine_jax.errors import UserError


def guard(program: Callable[[], None], *, debug: bool) -> None:
    """Runs a program; a UserError becomes one line on standard error and exit status 1.

    Args:
        program: what to run.
        debug: let the error through with its traceback instead.

    Raises:
        SystemExit: with status 1 after a UserError, with 130 when the user interrupts.
    """
    try:
        program()
    except UserError as error:
        if debug:
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        if debug:
            raise
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None


def run(main: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser) -> None:
    """Parses the command line, adds --debug to it, and runs `main` under `guard`."""
    parser.add_argument("--debug", action="store_true", help="show tracebacks of user errors")
    args = parser.parse_args()
    guard(lambda: main(args), debug=args.debug)


def image_paths(arguments: Sequence[str], suffixes: Sequence[str]) -> list[Path]:
    """Files as given, and the images of folders in the order of their names.

    Raises:
        UserError: for a name that isn't there, or a folder that holds no file with one of the suffixes.
    """
    paths = []
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in suffixes)
            if not inside:
                raise UserError(f"{path}: no images here; accepted: {', '.join(suffixes)}")
            paths += inside
        elif path.is_file():
            paths.append(path)
        else:
            raise UserError(f"{path}: no such file or folder")
    return paths
