"""Splits a data set into training, validation and test parts."""

from collections import defaultdict
from collections.abc import Sequence

from classify_jax.data.folder import SPLITS, Record, Split
from engine_jax.errors import UserError
from engine_jax.order import shuffled


def splits(
    records: Sequence[Record], validation: float = 0.1, test: float = 0.1, *, seed: int = 0
) -> dict[Split, list[Record]]:
    """The published parts of a data set; a missing one is drawn from the training images, class by class.

    Args:
        records: of a data set without parts, or with at least a training part.
        validation, test: share of each class's images that is drawn for the part if it is missing; at least one image.
        seed: chooses these images, the same ones on every machine.

    Returns:
        The parts, disjoint, each in the order of `records`.

    Raises:
        UserError: no image of a class is left to train on.
    """
    parts: dict[Split, list[Record]] = {
        split: [record for record in records if record.split == split] for split in SPLITS
    }
    shares: dict[Split, float] = {"validation": validation, "test": test}
    missing: dict[Split, float] = {
        split: share for split, share in shares.items() if not parts[split]
    }
    chosen = _cut([r for r in records if r.split in (None, "train")], missing, seed)
    for split, held_out in chosen.items():
        parts[split] = [record for record in records if record.name in held_out]
    taken = set().union(*chosen.values())
    parts["train"] = [r for r in records if r.split in (None, "train") and r.name not in taken]
    return parts


def _cut(records: Sequence[Record], shares: dict[Split, float], seed: int) -> dict[Split, set[str]]:
    """The names of the images that are held out for each of the named parts."""
    by_class: dict[str, list[str]] = defaultdict(list)
    for record in records:
        by_class[record.label].append(record.name)
    held_out: dict[Split, set[str]] = {split: set() for split in shares}
    start = 0
    for label, names in by_class.items():
        order = shuffled(len(names), seed, start)
        start += len(names)
        first = 0
        for split, share in shares.items():
            count = max(1, round(share * len(names)))
            held_out[split] |= {names[i] for i in order[first : first + count]}
            first += count
        if shares and first >= len(names):
            raise UserError(
                f"class {label!r}: {len(names)} images leave none to train on when some are held out for "
                f"{' and '.join(shares)}; accepted: at least {len(shares) + 1}, or smaller shares"
            )
    return held_out
