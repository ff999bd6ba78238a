"""Any image classification set of tensorflow-datasets, prepared and read without TensorFlow."""

from typing import Any

from classify_jax.data.folder import SPLITS, Record, Split, check_classes
from engine_jax.errors import UserError, reason
from engine_jax.tfds_source import read_back, tfds


def tfds_records(name: str, data_dir: str = "") -> list[Record]:
    """Prepares a set as ArrayRecord files unless that has been done, and reads it.

    Its parts train, validation and test are used as published; others are ignored.

    Args:
        name: such as "mnist", "tf_flowers" or "cifar10:3.0.2".
        data_dir: where prepared sets are kept; "" is TFDS's own place.

    Returns:
        The records, with their encoded images in memory.

    Raises:
        UserError: no such set, no way to fetch it, no part "train", or no features "image" and "label" with names of
            classes.
    """
    try:
        builder: Any = tfds.builder(name, data_dir=data_dir or None, file_format="array_record")
    except tfds.core.DatasetNotFoundError as error:
        line = str(error).strip().splitlines()[0]
        raise UserError(f"config.data.name: TFDS has no {name!r} ({line})") from error
    features = dict(builder.info.features.items())
    image, label = features.get("image"), features.get("label")
    if not (isinstance(image, tfds.features.Image) and isinstance(label, tfds.features.ClassLabel)):
        raise UserError(
            f"config.data.name: TFDS's {name} holds {', '.join(features)}; "
            "accepted: a set with an image and a class label"
        )
    try:
        builder.download_and_prepare()
    except OSError as error:  # Those of connections, too, which have no number.
        if error.errno is not None:
            raise
        raise UserError(
            f"config.data.name: TFDS can't fetch {name!r} ({reason(error)}); --config.data.dir takes a folder in "
            "which it was prepared before"
        ) from error
    if "train" not in builder.info.splits:
        raise UserError(
            f"config.data.name: TFDS's {name} has the parts {', '.join(builder.info.splits)}; "
            "accepted: a set with a part train"
        )
    splits: list[Split] = [split for split in SPLITS if split in builder.info.splits]
    records = [
        Record(
            f"{split}/{i:06d}",
            label.int2str(int(example["label"])),
            split,
            lambda data=example["image"]: data,
        )
        for split in splits
        for i, (_, example) in enumerate(read_back(builder, [split]))
    ]
    check_classes(records, name)
    return records
