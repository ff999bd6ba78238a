"""How every command line program of this project starts, and how it ends on an error."""

import argparse
import sys
from collections.abc import Callable

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
