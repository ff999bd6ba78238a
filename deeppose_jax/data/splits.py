"""Splits LSP into training, validation and test parts."""

from typing import Literal

import numpy as np

from engine_jax.errors import UserError
from engine_jax.order import shuffled


def splits(
    count: int,
    scheme: Literal["official", "report"] = "official",
    *,
    validation: int = 100,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Splits LSP's records, whose indices start at 0.

    "official" takes the first half (images 1-1000) for training and the second (1001-2000) for
    testing, and holds `validation` images of the training half out, drawn by `seed` in the same way
    on every machine. "report" cuts the file's order into 70, 15 and 15 % (1400, 300 and 300).
    LSP Extended is for training only and isn't split.

    At least ten photographs are in both halves of the official split, nearly or exactly the same:
    images 371 and 1622, 550 and 1366, 483 and 1211, 492 and 1436, 535 and 1233, 670 and 1805, 285
    and 1680, 210 and 1100, 158 and 1120, 412 and 1938. They stay in their published halves, so that
    scores remain comparable.

    Args:
        count: number of images; 2000 in LSP.
        scheme: "official" or "report".
        validation: size of the validation set of "official"; 0 for none.
        seed: chooses its images.

    Returns:
        "train", "validation" and "test": disjoint, ascending integer arrays that cover range(count).

    Raises:
        UserError: on an unknown scheme, and when a part would be empty.
    """
    if scheme == "official":
        half = count // 2
        if not 0 <= validation < half:
            raise UserError(
                f"validation: got {validation}; the official training half of {count} images "
                f"takes 0 to {half - 1}"
            )
        order = shuffled(half, seed)
        held_out, train = np.sort(order[:validation]), np.sort(order[validation:])
        return {"train": train, "validation": held_out, "test": np.arange(half, count)}
    if scheme == "report":
        if count < 7:
            raise UserError(f"splits: {count} images; the report's three parts need at least 7")
        first, second = count * 70 // 100, count * 85 // 100
        train, held_out, test = np.split(np.arange(count), [first, second])
        return {"train": train, "validation": held_out, "test": test}
    raise UserError(f'splits: got {scheme!r}; expected "official" or "report"')
