"""Reports the contents and the problems of a category of images."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomaly_jax.data.image_set import GOOD
from anomaly_jax.data.layouts import open_category
from anomaly_jax.data.prepare import read_sample
from anomaly_jax.data.records import Record
from engine_jax import data_check
from engine_jax.data_check import Line, counted, image_lines
from engine_jax.errors import UserError
from engine_jax.image_files import read_each


@dataclass(frozen=True)
class Finding:
    """Result of reading one record.

    Attributes:
        size: (width, height) of the image.
        fault: the share of faulty pixels; None for good and for unlabelled images.
        binary: False where the mask's file holds more than two values.
    """

    size: tuple[int, int]
    fault: float | None
    binary: bool


def parser() -> argparse.ArgumentParser:
    return data_check.parser(
        "anomaly_jax",
        "Checks a category of images and prints what it finds.",
        "the category's folder, or an archive of it",
    )


def main(args: argparse.Namespace) -> None:
    """Prints the report.

    Raises:
        UserError: the category can't be opened, or an image or mask in it can't be used.
    """
    records = open_category(args.path)
    findings = examine(records)
    data_check.print_report("images", args.path, report(records, findings), findings)


def examine(records: Sequence[Record]) -> list[Finding | UserError]:
    """Reads every image and mask; an error for each that can't be used."""

    def finding(i: int) -> Finding:
        sample = read_sample(records[i])
        fault = None
        if sample.mask is not None and records[i].defect != GOOD:
            fault = float(sample.mask.mean())
        return Finding(sample.image.size, fault, sample.binary)

    return read_each(finding, len(records))


def report(records: Sequence[Record], findings: Sequence[Finding | UserError]) -> list[Line]:
    """The lines of the report, as (title, text)."""
    pairs = list(zip(records, findings, strict=True))
    read = [(record, found) for record, found in pairs if isinstance(found, Finding)]
    folders: dict[str, list[tuple[Record, Finding | UserError]]] = {}
    for record, found in pairs:
        folders.setdefault(f"{record.split}/{record.defect}", []).append((record, found))
    lines = [(folder, _folder(inside)) for folder, inside in folders.items()]
    lines += image_lines([record.name for record in records], [found.size for _, found in read])
    more_values = [record.name for record, found in read if not found.binary]
    lines.append(("masks not binary", counted(more_values)))
    empty = [record.name for record, found in read if found.fault == 0]
    lines.append(("faulty, but mask empty", counted(empty)))
    return lines


def _folder(inside: Sequence[tuple[Record, Finding | UserError]]) -> str:
    """How many images of one kind there are and, if they are faulty, how large the faults are."""
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
