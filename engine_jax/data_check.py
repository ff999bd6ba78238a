"""What the programs that check a data set share: their command line, lines of the report, and how they end."""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from engine_jax.errors import UserError, listed
from engine_jax.image_files import read_each, read_rgb

Line = tuple[str, str]  # a title and a text

# How many names a line of the report lists before it stops.
_NAMES = 20


def parser(package: str, description: str, path: str) -> argparse.ArgumentParser:
    """The command line: what is checked, and what the path to it is."""
    command = argparse.ArgumentParser(prog=f"python -m {package}.data", description=description)
    command.add_argument("path", metavar="DIR", help=path)
    return command


def image_sizes(records: Sequence[Any]) -> list[tuple[int, int] | UserError]:
    """(width, height) of each record's image, which its `read` gives, or the error of reading it."""
    return read_each(lambda i: read_rgb(records[i].read, records[i].name).size, len(records))


def counted(names: Sequence[str]) -> str:
    """How many names there are, and the first of them."""
    return f"{len(names)}: {listed(names, _NAMES)}" if names else "0"


def image_lines(names: Sequence[str], sizes: Sequence[tuple[int, int]]) -> list[Line]:
    """How many files there are of each kind, and how large the images are.

    Args:
        names: of all images.
        sizes: (width, height) of those that could be read.
    """
    kinds = Counter(PurePath(name).suffix.lower()[1:] for name in names)
    lines = [("files", ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()))]
    if sizes:
        low, middle, high = np.min(sizes, 0), np.median(sizes, 0), np.max(sizes, 0)
        text = ", ".join(
            f"{side} {low[axis]} / {middle[axis]:g} / {high[axis]}"
            for axis, side in enumerate(("width", "height"))
        )
        lines.append(("min / median / max", f"{text} pixels"))
    return lines


def print_report(
    title: str, path: str | Path, lines: Sequence[Line], found: Sequence[Any | UserError]
) -> None:
    """Prints the report.

    Args:
        title: what kind of data set it is.
        path: where it is.
        lines: of the report.
        found: for each image what reading it gave, or the error.

    Raises:
        UserError: there are errors in `found`.
    """
    errors = [str(error) for error in found if isinstance(error, UserError)]
    print(f"{title}: {path}")
    for line in (*lines, ("can't be used", counted(errors))):
        print(f"  {line[0]:<26}{line[1]}")
    if errors:
        raise UserError(f"{path}: {len(errors)} of {len(found)} images can't be used")
