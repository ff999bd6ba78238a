"""The parts of a run on key points in COCO's format."""

import logging
from dataclasses import replace

import numpy as np

from deeppose_jax.data.coco import CocoSet, open_coco
from deeppose_jax.data.parts import Part, Parts, prepare_part
from deeppose_jax.data_config import DataConfig
from engine_jax.errors import UserError
from engine_jax.order import shuffled


def coco_parts(config: DataConfig, seed: int) -> Parts:
    """Reads the files of `config.coco`.

    Args:
        config: of the data.
        seed: chooses the images that are held out for validation where no file is given for it.

    Raises:
        UserError: a file is missing or can't be used, or their joints differ.
    """
    names = ["train", "test", *(["validation"] if config.coco.validation else [])]
    sets = {name: _open(config, name) for name in names}
    skeleton = sets["train"].skeleton
    for name in names[1:]:
        joints = sets[name].skeleton.joints
        if joints != skeleton.joints:
            raise UserError(
                f"config.data.coco.{name}: its joints are {', '.join(joints)}; accepted: those of "
                f"config.data.coco.train, {', '.join(skeleton.joints)}"
            )
    if "validation" not in sets:
        sets["train"], sets["validation"] = _held_out(sets["train"], config.validation, seed)
    parts = {name: _part(name, found, config) for name, found in sets.items()}
    return Parts(parts["train"], parts["validation"], parts["test"], skeleton=skeleton)


def _open(config: DataConfig, name: str) -> CocoSet:
    path = getattr(config.coco, name)
    if not path:
        raise UserError(
            f"config.data.coco.{name}: '' with config.data.dataset='coco'; accepted: a JSON file of key points"
        )
    found = open_coco(path, config.coco.images, config.coco.category, config.coco.pairs)
    left_out = ", ".join(f"{count} {why}" for why, count in found.left_out.items())
    if left_out:
        logging.info("%s: left out: %s", path, left_out)
    if not found.records:
        raise UserError(f"{path}: none of its {len(found.people)} people can be used")
    return found


def _held_out(found: CocoSet, count: int, seed: int) -> tuple[CocoSet, CocoSet]:
    """The set without some images, chosen at random, and those images."""
    own = found.people.images[: len(found.records)]
    images = np.unique(own)
    if count >= len(images):
        raise UserError(
            f"config.data.validation: {count} of {len(images)} images; accepted: less, or a file as "
            "config.data.coco.validation"
        )
    chosen = images[shuffled(len(images), seed)[:count]]
    return _some(found, ~np.isin(found.people.images, chosen)), _some(
        found, np.isin(found.people.images, chosen)
    )


def _some(found: CocoSet, kept: np.ndarray) -> CocoSet:
    """The set's people for whom `kept` is true."""
    records = [record for record, keep in zip(found.records, kept, strict=False) if keep]
    return replace(found, records=records, people=found.people.rows(kept))


def _part(name: str, found: CocoSet, config: DataConfig) -> Part:
    part = prepare_part(found.records, config, "image", training=name == "train")
    readable = set(part.names)
    kept = np.ones(len(found.people), bool)
    kept[: len(found.records)] = [record.name in readable for record in found.records]
    return replace(part, people=found.people.rows(kept))
