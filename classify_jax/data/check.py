"""What is in a folder of images by class, and what is wrong with it."""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from classify_jax.data.folder import SPLITS, Record, listed, open_folder
from classify_jax.data.prepare import read_image, run_over
from engine_jax.errors import UserError

# How many names a line of the report lists before it stops.
_NAMES = 20


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m classify_jax.data",
        description="Checks a folder of images by class and prints what it finds.",
    )
    parser.add_argument("path", metavar="DIR", help="DIR/<class>/* or DIR/train/<class>/*")
    return parser


def main(args: argparse.Namespace) -> None:
    """Prints the report.

    Raises:
        UserError: the data set can't be opened, or an image in it can't be read.
    """
    records = open_folder(args.path)
    sizes = read_sizes(records)
    print(f"Images by class: {args.path}")
    for title, text in report(records, sizes):
        print(f"  {title:<24}{text}")
    wrong = sum(isinstance(size, UserError) for size in sizes)
    if wrong:
        raise UserError(f"{args.path}: {wrong} of {len(records)} images can't be read")


def read_sizes(records: Sequence[Record]) -> list[tuple[int, int] | UserError]:
    """Reads every image: its (height, width), or an error where it can't be read."""

    def size(i: int) -> tuple[int, int] | UserError:
        try:
            width, height = read_image(records[i]).size
        except UserError as error:
            return error
        return height, width

    return run_over(size, len(records))


def report(
    records: Sequence[Record], sizes: Sequence[tuple[int, int] | UserError]
) -> list[tuple[str, str]]:
    """The lines of the report, as (title, text)."""
    lines = []
    for split in (None, *SPLITS):
        counts = Counter(record.label for record in records if record.split == split)
        if counts:
            most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
            text = f"{counts.total()} in {len(counts)} classes"
            text += f"; most {counts[most]} of {most}, fewest {counts[least]} of {least}"
            lines.append((split or "images", text))
    kinds = Counter(PurePosixPath(record.name).suffix.lower()[1:] for record in records)
    lines.append(("files", ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())))
    read = [size for size in sizes if not isinstance(size, UserError)]
    if read:
        low, middle, high = np.min(read, 0), np.median(read, 0), np.max(read, 0)
        text = ", ".join(
            f"{side} {low[axis]} / {middle[axis]:g} / {high[axis]}"
            for axis, side in enumerate(("height", "width"))
        )
        lines.append(("min / median / max", f"{text} pixels"))
    errors = [str(size) for size in sizes if isinstance(size, UserError)]
    text = f"{len(errors)}: {listed(errors, _NAMES)}" if errors else "0"
    lines.append(("can't be read", text))
    return lines
