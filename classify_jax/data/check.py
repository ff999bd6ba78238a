"""Reports the contents and the problems of a folder of images by class."""

import argparse
from collections import Counter
from collections.abc import Sequence

from classify_jax.data.folder import SPLITS, Record, open_folder
from engine_jax import data_check
from engine_jax.data_check import Line, image_lines, image_sizes
from engine_jax.errors import UserError


def parser() -> argparse.ArgumentParser:
    return data_check.parser(
        "classify_jax",
        "Checks a folder of images by class and prints what it finds.",
        "DIR/<class>/* or DIR/train/<class>/*",
    )


def main(args: argparse.Namespace) -> None:
    """Prints the report.

    Raises:
        UserError: the data set can't be opened, or an image in it can't be read.
    """
    records = open_folder(args.path)
    sizes = image_sizes(records)
    data_check.print_report("Images by class", args.path, report(records, sizes), sizes)


def report(records: Sequence[Record], sizes: Sequence[tuple[int, int] | UserError]) -> list[Line]:
    """The lines of the report, as (title, text)."""
    lines = []
    for split in (None, *SPLITS):
        counts = Counter(record.label for record in records if record.split == split)
        if counts:
            most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
            text = f"{counts.total()} in {len(counts)} classes"
            text += f"; most {counts[most]} of {most}, fewest {counts[least]} of {least}"
            lines.append((split or "images", text))
    read = [size for size in sizes if not isinstance(size, UserError)]
    return lines + image_lines([record.name for record in records], read)
