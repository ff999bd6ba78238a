"""What is in a folder in the layout of MVTec AD, and what is wrong with it."""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from anomaly_jax.data.image_set import GOOD
from anomaly_jax.data.mvtec import Record, open_mvtec
from anomaly_jax.data.prepare import read_sample, run_over
from engine_jax.errors import UserError

# How many names a line of the report lists before it stops.
_NAMES = 20


@dataclass(frozen=True)
class Finding:
    """What reading a record has shown.

    Attributes:
        size: (h, w) of the image.
        fault: the share of faulty pixels; None for good and for unlabelled images.
        binary: False where the mask's file holds more than two values.
    """

    size: tuple[int, int]
    fault: float | None
    binary: bool


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m anomaly_jax.data",
        description="Checks a category in the layout of MVTec AD and prints what it finds.",
    )
    parser.add_argument("path", metavar="DIR", help="the category's folder, or an archive of it")
    return parser


def main(args: argparse.Namespace) -> None:
    """Prints the report.

    Raises:
        UserError: the category can't be opened, or an image or mask in it can't be used.
    """
    records = open_mvtec(args.path)
    findings = examine(records)
    print(f"MVTec AD layout: {args.path}")
    for title, text in report(records, findings):
        print(f"  {title:<24}{text}")
    wrong = sum(isinstance(finding, UserError) for finding in findings)
    if wrong:
        raise UserError(f"{args.path}: {wrong} of {len(records)} images or their masks are wrong")


def examine(records: Sequence[Record]) -> list[Finding | UserError]:
    """Reads every image and mask; an error for each that can't be used."""

    def finding(i: int) -> Finding | UserError:
        try:
            sample = read_sample(records[i])
        except UserError as error:
            return error
        w, h = sample.image.size
        fault = None
        if sample.mask is not None and records[i].defect != GOOD:
            fault = float(sample.mask.mean())
        return Finding((h, w), fault, sample.binary)

    return run_over(finding, len(records))


def report(
    records: Sequence[Record], findings: Sequence[Finding | UserError]
) -> list[tuple[str, str]]:
    """The lines of the report, as (title, text)."""
    pairs = list(zip(records, findings, strict=True))
    read = [(record, found) for record, found in pairs if isinstance(found, Finding)]
    folders = dict.fromkeys(f"{record.split}/{record.defect}" for record in records)
    lines = [(folder, _folder(folder, pairs)) for folder in folders]
    kinds = Counter(PurePosixPath(record.name).suffix.lower()[1:] for record in records)
    lines.append(("files", ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())))
    if read:
        sizes = [found.size for _, found in read]
        low, middle, high = np.min(sizes, 0), np.median(sizes, 0), np.max(sizes, 0)
        text = ", ".join(
            f"{side} {low[axis]} / {middle[axis]:g} / {high[axis]}"
            for axis, side in enumerate(("height", "width"))
        )
        lines.append(("min / median / max", f"{text} pixels"))
    more_values = [record.name for record, found in read if not found.binary]
    lines.append(("masks not binary", _counted(more_values)))
    empty = [record.name for record, found in read if found.fault == 0]
    lines.append(("faulty, but mask empty", _counted(empty)))
    errors = [str(found) for found in findings if isinstance(found, UserError)]
    lines.append(("wrong", _counted(errors)))
    return lines


def _folder(folder: str, pairs: Sequence[tuple[Record, Finding | UserError]]) -> str:
    """How many images a folder holds and, if they are faulty, how large the faults are."""
    inside = [(record, found) for record, found in pairs if record.name.startswith(f"{folder}/")]
    text = f"{len(inside)} images"
    if inside[0][0].defect == GOOD:
        return text
    if not inside[0][0].labelled:
        return f"{text}, no masks: image-level metrics only"
    shares = [found.fault for _, found in inside if isinstance(found, Finding)]
    known = [100 * share for share in shares if share is not None]
    if not known:
        return text
    low, middle, high = min(known), np.median(known), max(known)
    return f"{text}, faulty pixels min / median / max {low:.2f} / {middle:.2f} / {high:.2f} %"


def _counted(found: list[str]) -> str:
    if not found:
        return "0"
    more = f", and {len(found) - _NAMES} more" if len(found) > _NAMES else ""
    return f"{len(found)}: {', '.join(found[:_NAMES])}{more}"
