"""Splits the good training images into a training and a validation part; the test part stays as published."""

from collections.abc import Sequence

from anomaly_jax.data.records import Record
from engine_jax.errors import UserError
from engine_jax.order import shuffled


def splits(
    records: Sequence[Record], validation: float = 0.1, *, seed: int = 0
) -> dict[str, list[Record]]:
    """The parts of a category.

    Validation images are those that the layout has for it, or are taken from the good training images: early stopping
    and thresholds are chosen on them, and nothing is chosen on faulty or test images.

    Args:
        records: as `open_category` gives them.
        validation: share of the training images that is held out, above 0 and below 1; one image at least.
        seed: chooses these images, the same ones on every machine.

    Returns:
        "train", "validation" and "test", disjoint, each in the order of `records`.

    Raises:
        UserError: a share out of range, or no image left to train on.
    """
    if not 0 < validation < 1:
        raise UserError(f"validation: got {validation}; expected a share above 0 and below 1")
    good = [record for record in records if record.split == "train"]
    test = [record for record in records if record.split == "test"]
    if published := [record for record in records if record.split == "validation"]:
        return {"train": good, "validation": published, "test": test}
    count = max(1, round(validation * len(good)))
    if count >= len(good):
        raise UserError(
            f"validation: a share of {validation} of {len(good)} good training images leaves none "
            "to train on; expected at least 2 images, or a smaller share"
        )
    held_out = set(shuffled(len(good), seed)[:count].tolist())
    return {
        "train": [record for i, record in enumerate(good) if i not in held_out],
        "validation": [record for i, record in enumerate(good) if i in held_out],
        "test": test,
    }
