"""Reports the contents and the problems of an LSP or LSP Extended folder, or of a file of COCO key points."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from deeppose_jax.data.canvas import joints_inside
from deeppose_jax.data.coco import open_coco
from deeppose_jax.data.labels import unlabelled_joints, usable_images
from deeppose_jax.data.lsp import TITLES, open_folder
from deeppose_jax.data.record import Record
from deeppose_jax.skeleton import LSP, Skeleton, Stick
from deeppose_jax.skeleton_file import named_skeleton
from engine_jax import data_check
from engine_jax.data_check import Line, counted, image_lines, image_sizes
from engine_jax.errors import UserError

Size = tuple[int, int]  # (width, height)


def parser() -> argparse.ArgumentParser:
    command = data_check.parser(
        "deeppose_jax",
        "Checks LSP, LSP Extended or COCO key points and prints what it finds.",
        "the folder or zip, as published; or a JSON file in COCO's format",
    )
    command.add_argument(
        "--labels",
        choices=("PC", "OC"),
        default="PC",
        help="person-centric (default) or observer-centric; of LSP",
    )
    command.add_argument(
        "--skeleton",
        default="lsp",
        help="lsp (default), coco, mpii, flic or a JSON file: the joints of a folder like LSP's",
    )
    command.add_argument(
        "--images", default="", help="the images' folder, where a JSON file isn't in it"
    )
    return command


def main(args: argparse.Namespace) -> None:
    """Prints the report.

    Raises:
        UserError: the data set can't be opened, an image in it can't be read, or none has a labelled joint.
    """
    if Path(args.path).suffix.lower() == ".json":
        check_coco(args.path, args.images)
        return
    skeleton = named_skeleton(args.skeleton)
    kind, records = open_folder(args.path, args.labels, skeleton.num_joints)
    sizes = image_sizes(records)
    title = f"{TITLES[kind]}, {args.labels} labels"
    inside = labelled_inside(records, sizes)
    lines = report(records, sizes, skeleton)
    lines += label_lines(inside, halves=kind == "lsp", skeleton=skeleton)
    data_check.print_report(title, args.path, lines, sizes)
    if not inside.any():
        raise UserError(
            f"{args.path}: 0 of {len(records)} images have a labelled joint inside the image; expected some"
        )


def check_coco(path: str, images: str) -> None:
    """Prints the report on a file of COCO key points; raises as `main` does."""
    found = open_coco(path, images)
    skeleton = found.skeleton
    pairs = [
        f"{skeleton.joints[joint]} / {skeleton.joints[partner]}"
        for joint, partner in enumerate(skeleton.swap)
        if joint < partner
    ]
    left_out = ", ".join(f"{count} {why}" for why, count in found.left_out.items())
    lines = [
        ("pictures", f"{found.images} listed"),
        ("annotated", f"{len(found.people)} of category {found.category!r}"),
        ("left out", left_out or "0"),
        ("left / right", counted(pairs)),
    ]
    sizes = image_sizes(found.records)
    if found.records:
        lines += report(found.records, sizes, skeleton, of="people")
    data_check.print_report("COCO key points", path, lines, sizes)


def labelled_inside(
    records: Sequence[Record], sizes: Sequence[Size | UserError]
) -> Bool[np.ndarray, "n k"]:
    """The joints that a run trains on or scores: labelled and inside a readable image."""
    return np.stack(
        [
            np.zeros_like(record.labelled)
            if isinstance(size, UserError)
            else joints_inside(record, size)
            for record, size in zip(records, sizes, strict=True)
        ]
    )


def label_lines(
    inside: Bool[np.ndarray, "n k"], *, halves: bool, skeleton: Skeleton = LSP
) -> list[Line]:
    """How many images can be used and which joints none of them labels: of all, and of both halves of LSP."""
    n = len(inside)
    parts = {"": inside}
    if halves and n > 1:
        parts |= {", training half": inside[: n // 2], ", test half": inside[n // 2 :]}
    lines = []
    for name, part in parts.items():
        missing = unlabelled_joints(part, skeleton)
        none = f"; none labels {missing}" if missing else ""
        lines.append((f"usable{name}", f"{usable_images(part)} of {len(part)} images{none}"))
    return lines


def report(
    records: Sequence[Record],
    sizes: Sequence[Size | UserError],
    skeleton: Skeleton = LSP,
    of: str = "images",
) -> list[Line]:
    """The lines of the report, as (title, text), on "images" or "people"; joints are compared with readable ones."""
    labelled = np.stack([record.labelled for record in records])  # [n, k]
    n, k = labelled.shape
    complete = int(labelled.all(axis=1).sum())
    known = [size for size in sizes if not isinstance(size, UserError)]
    lines = [
        (of, f"{n}, {len(known)} of them readable"),
        ("joints", f"{k} each, {n * k} in all"),
        ("labelled", f"{_share(labelled.sum(), n * k)}; all {k} on {complete} {of}"),
    ]
    occluded = [record.occluded for record in records if record.occluded is not None]
    if occluded:
        lines.append(("occluded", _share(np.sum(occluded), n * k)))
    files = [record.name.rpartition(" (")[0] or record.name for record in records]
    lines += image_lines(files, known)
    lines.append(("outside the image", _outside(records, sizes, skeleton)))
    if of == "images":
        at_zero = [record.name for record in records if (record.joints == -1).all(axis=1).any()]
        lines.append(("a joint at 0, 0 in file", counted(at_zero)))
    lines.append(("smallest torso", _smallest_torso(records, skeleton)))
    lines.append(("sticks of length 0", _zero_sticks(records, skeleton)))
    return lines


def _outside(
    records: Sequence[Record], sizes: Sequence[Size | UserError], skeleton: Skeleton
) -> str:
    """Labelled joints more than a pixel outside their image, which `prepare` masks."""
    found = []
    for record, size in zip(records, sizes, strict=True):
        if not isinstance(size, UserError):
            for joint in np.flatnonzero(record.labelled & ~joints_inside(record, size)):
                x, y = record.joints[joint]
                found.append(
                    f"{record.name} {skeleton.joints[joint]} ({x:.1f}, {y:.1f}) "
                    f"in {size[0]}x{size[1]}"
                )
    return counted(found)


def _smallest_torso(records: Sequence[Record], skeleton: Skeleton) -> str:
    """diam(y), the distance between the two opposing torso joints, which scales PDJ."""
    if skeleton.torso is None:
        return "the skeleton has none"
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


def _zero_sticks(records: Sequence[Record], skeleton: Skeleton) -> str:
    """Sticks whose ends coincide: PCP counts them only if the error is zero."""

    def is_point(record: Record, stick: Stick) -> bool:
        ends = [list(stick.start), list(stick.stop)]
        if not record.labelled[ends[0] + ends[1]].all():
            return False
        start, stop = (record.joints[end].mean(axis=0) for end in ends)
        return bool((start == stop).all())

    return counted(
        [
            f"{record.name} {stick.part}"
            for record in records
            for stick in skeleton.sticks
            if is_point(record, stick)
        ]
    )


def _share(part: int, whole: int) -> str:
    return f"{part} ({100 * part / whole:.1f} %)"
