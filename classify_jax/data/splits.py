"""Which images are trained on, which choose the parameters, and which are tested."""

from collections import defaultdict
from collections.abc import Sequence

from classify_jax.data.folder import SPLITS, Record, Split
from engine_jax.errors import UserError
from engine_jax.order import shuffled


def splits(
    records: Sequence[Record], validation: float = 0.1, test: float = 0.1, *, seed: int = 0
) -> dict[Split, list[Record]]:
    """The parts of a data set: those that it is published in, and what is missing cut from the rest, class by class.

    Args:
        records: of a data set without parts, or with a training part at least.
        validation, test: shares of each class's images that are cut, of data sets without such a part; one image at
            least.
        seed: chooses them, the same ones on every machine.

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
