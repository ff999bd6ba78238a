"""Runs the long cases: python -m tests.soak [NAME...], all of them without a name.

Each prints what it tried and how many came out right; the exit status is 1 if any didn't. A short form of each is in
the ordinary suite.
"""

import argparse
import importlib
import sys

# The cases, and their time on two CPU cores.
CASES = {
    "devices": "every preset starts on 1, 2, 3, 4 and 8 devices; 90 minutes",
    "processes": "one of two processes is killed, at three moments; 10 minutes",
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description="Runs the long cases.",
        epilog="; ".join(f"{name}: {about}" for name, about in CASES.items()),
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CASES))
    names = parser.parse_args().names or list(CASES)
    if unknown := [name for name in names if name not in CASES]:
        parser.error(f"{unknown[0]!r}; accepted: {', '.join(CASES)}")
    failures = []
    for name in names:
        print(f"{name}: {CASES[name]}", flush=True)
        failures += importlib.import_module(f"tests.soak.{name}").run()
    for failure in failures:
        print(f"failed: {failure}")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
