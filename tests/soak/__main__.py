"""Runs the long cases: python -m tests.soak [NAME...], all of them without a name.

Each prints what it tried and how many came out right; the exit status is 1 if any didn't. A short form of each is in
the ordinary suite.
"""

import argparse
import importlib
import sys

# The cases, and their time on two CPU cores.
CASES = {
    "kills": "a run is killed, told to stop or interrupted at random moments, and resumed; 8 minutes",
    "damage": "files of a run are damaged, and it is loaded and resumed; 15 minutes",
    "full_disk": "a run's disk is full at many moments, and has room again; 8 minutes",
    "fuzz": "100,000 mutated files are read: joints, boxes, masks, images, weights, configurations, checkpoints' "
    "descriptions; 5 minutes",
    "long_run": "20,000 steps: memory, open files and rate; 4 minutes",
    "processes": "one of two processes that train together is killed or told to stop, and both are started again; "
    "30 minutes beside other programs",
    "card": "the packaged pose model has the scores of its card on LSP's test half in REAL_DATA; 5 minutes",
    "devices": "every preset starts on 1, 2, 3, 4 and 8 devices; 90 minutes",
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
    sys.stdout.reconfigure(line_buffering=True)  # Into a file or a pipe too.  # pyright: ignore[reportAttributeAccessIssue]
    failures = []
    for name in names:
        print(f"{name}: {CASES[name]}")
        failures += importlib.import_module(f"tests.soak.{name}").run()
    for failure in failures:
        print(f"failed: {failure}")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
