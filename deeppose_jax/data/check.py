"""What is in an LSP or LSP Extended folder, and what is wrong with it."""

import argparse

import numpy as np

from deeppose_jax.data.canvas import decode, joints_inside, run_over
from deeppose_jax.data.lsp import TITLES, Record, open_folder, read_bytes
from deeppose_jax.skeleton import LSP, Skeleton, Stick
from engine_jax.errors import UserError

# How many names a line of the report lists before it stops.
_NAMES = 20


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deeppose_jax.data",
        description="Checks LSP or LSP Extended and prints what it finds.",
    )
    parser.add_argument("path", metavar="DIR", help="the folder or zip, as published")
    parser.add_argument(
        "--labels",
        choices=("PC", "OC"),
        default="PC",
        help="person-centric (default) or observer-centric",
    )
    return parser


def main(args: argparse.Namespace) -> None:
    """Prints the report.

    Raises:
        UserError: the data set can't be opened, or an image in it can't be read.
    """
    kind, records = open_folder(args.path, args.labels)
    sizes, unreadable = image_sizes(records)
    print(f"{TITLES[kind]}, {args.labels} labels: {args.path}")
    for title, text in report(records, sizes):
        print(f"  {title:<26}{text}")
    if unreadable:
        print(f"  {'unreadable':<26}{_listed([str(error) for error in unreadable])}")
        raise UserError(f"{args.path}: {len(unreadable)} of {len(records)} images can't be read")


def image_sizes(
    records: list[Record],
) -> tuple[list[tuple[int, int] | None], list[UserError]]:
    """Decodes every image: its (width, height), or None; and why, where it can't be read."""

    def size(i: int) -> tuple[int, int] | UserError:
        try:
            return decode(read_bytes(records[i]), records[i].name).size
        except UserError as error:
            return error

    found = run_over(size, len(records))
    sizes = [None if isinstance(size, UserError) else size for size in found]
    return sizes, [error for error in found if isinstance(error, UserError)]


def report(
    records: list[Record], sizes: list[tuple[int, int] | None], skeleton: Skeleton = LSP
) -> list[tuple[str, str]]:
    """The lines of the report, as (title, text); joints are judged on readable images only."""
    labelled = np.stack([record.labelled for record in records])  # [n, k]
    n, k = labelled.shape
    complete = int(labelled.all(axis=1).sum())
    lines = [
        ("images", f"{n}, {n - sizes.count(None)} of them readable"),
        ("joints", f"{k} an image, {n * k} in all"),
        ("labelled", f"{_share(labelled.sum(), n * k)}; all {k} on {complete} images"),
    ]
    occluded = [record.occluded for record in records if record.occluded is not None]
    if occluded:
        lines.append(("occluded", _share(np.sum(occluded), n * k)))
    known = [size for size in sizes if size is not None]
    if known:
        low, middle, high = np.min(known, 0), np.median(known, 0), np.max(known, 0)
        text = ", ".join(
            f"{side} {low[axis]} / {middle[axis]:g} / {high[axis]}"
            for axis, side in enumerate(("width", "height"))
        )
        lines.append(("min / median / max", f"{text} pixels"))
    lines.append(("outside the image", _outside(records, sizes, skeleton)))
    at_zero = [record.name for record in records if (record.joints == -1).all(axis=1).any()]
    lines.append(("a joint at 0, 0 in file", _counted(at_zero)))
    lines.append(("smallest torso", _smallest_torso(records, skeleton)))
    lines.append(("sticks of length 0", _zero_sticks(records, skeleton)))
    return lines


def _outside(records: list[Record], sizes: list[tuple[int, int] | None], skeleton: Skeleton) -> str:
    """Labelled joints more than a pixel outside their image, which `prepare` masks."""
    found = []
    for record, size in zip(records, sizes, strict=True):
        if size is not None:
            for joint in np.flatnonzero(record.labelled & ~joints_inside(record, size)):
                x, y = record.joints[joint]
                found.append(
                    f"{record.name} {skeleton.joints[joint]} ({x:.1f}, {y:.1f}) "
                    f"in {size[0]}x{size[1]}"
                )
    return _counted(found)


def _smallest_torso(records: list[Record], skeleton: Skeleton) -> str:
    """diam(y), the distance between the two opposing torso joints, which scales PDJ."""
    a, b = skeleton.torso
    torsos = [
        (float(np.hypot(*(record.joints[a] - record.joints[b]))), record.name)
        for record in records
        if record.labelled[a] and record.labelled[b]
    ]
    if not torsos:
        return "none is labelled"
    smallest = ", ".join(f"{length:.1f} ({name})" for length, name in sorted(torsos)[:3])
    return f"{smallest} pixels"


def _zero_sticks(records: list[Record], skeleton: Skeleton) -> str:
    """Sticks whose ends coincide, where PCP asks for an error of zero."""

    def is_point(record: Record, stick: Stick) -> bool:
        ends = [list(stick.start), list(stick.stop)]
        if not record.labelled[ends[0] + ends[1]].all():
            return False
        start, stop = (record.joints[end].mean(axis=0) for end in ends)
        return bool((start == stop).all())

    return _counted(
        [
            f"{record.name} {stick.part}"
            for record in records
            for stick in skeleton.sticks
            if is_point(record, stick)
        ]
    )


def _share(part: int, whole: int) -> str:
    return f"{part} ({100 * part / whole:.1f} %)"


def _counted(found: list[str]) -> str:
    return f"{len(found)}: {_listed(found)}" if found else "0"


def _listed(names: list[str]) -> str:
    more = f", and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more
