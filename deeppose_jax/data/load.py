"""From a data configuration to the three parts of a run: training, validation and test."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from deeppose_jax import synthetic
from deeppose_jax.data.coco_parts import coco_parts
from deeppose_jax.data.labels import check_usable, checked_labels
from deeppose_jax.data.lsp import open_lsp, open_lsp_extended
from deeppose_jax.data.parts import Part, Parts, prepare_part
from deeppose_jax.data.record import Record
from deeppose_jax.data.splits import splits
from deeppose_jax.data_config import GIVEN, DataConfig
from deeppose_jax.skeleton import LSP, Skeleton
from deeppose_jax.skeleton_file import named_skeleton
from engine_jax.errors import UserError
from engine_jax.lazy_images import LazyImages


def load_parts(config: DataConfig, seed: int) -> Parts:
    """Renders or reads the data set that `config` names.

    Args:
        config: of the data.
        seed: chooses the figures that are rendered, or the images that the official split holds out for validation.

    Raises:
        UserError: the data set isn't there or can't be used.
    """
    if config.dataset == "synthetic":
        return _synthetic(config, seed)
    if config.dataset == GIVEN:
        raise UserError(
            f"config.data.dataset: {GIVEN!r} is data that a program gives to deeppose_jax.train.train; accepted here: "
            "synthetic, lsp, lsp_and_extended, coco"
        )
    if config.dataset == "coco":
        return checked_labels(coco_parts(config, seed))
    skeleton = named_skeleton(config.skeleton)
    records = _lsp_records(config, skeleton)
    chosen = splits(len(records), config.split, validation=config.validation, seed=seed)

    def part(name: str) -> Part:
        training = name == "train"
        some = [records[i] for i in chosen[name]]
        return prepare_part(some, config, "image" if training else config.test_box, training)

    loaded = {name: part(name) for name in chosen}
    train, added = loaded["train"], 0
    if config.dataset == "lsp_and_extended":
        extended = prepare_part(_extended_records(config), config, config.extended_box, True)
        check_usable("LSP Extended", extended.poses.labelled, LSP)
        train, added = _join(train, extended), len(extended)
    parts = Parts(train, loaded["validation"], loaded["test"], added=added, skeleton=skeleton)
    return checked_labels(parts)


def rendered_size(config: DataConfig) -> int | None:
    """How many images will be rendered to train on; None where they are read."""
    return config.train if config.dataset == "synthetic" else None


def _synthetic(config: DataConfig, seed: int) -> Parts:
    sizes = {"train": config.train, "validation": config.validation, "test": config.test}
    rendered, start = {}, 0
    for name, count in sizes.items():
        poses = synthetic.figures(seed, count, config.canvas, start=start)
        rendered[name] = Part(poses, [f"figure {i}" for i in range(start, start + count)])
        start += count
    return Parts(rendered["train"], rendered["validation"], rendered["test"])


def _lsp_records(config: DataConfig, skeleton: Skeleton) -> Sequence[Record]:
    if config.dir:
        return open_lsp(config.dir, config.labels, skeleton.num_joints)
    if config.skeleton:
        raise UserError(
            f"config.data.dir: '' with config.data.skeleton={config.skeleton!r}; accepted: the folder of the data"
        )
    _check_files("dir", config)
    # Imported here: tensorflow-datasets takes seconds to load, and most runs name a folder.
    from deeppose_jax.data import tfds_builders

    return tfds_builders.prepared_records(tfds_builders.Lsp(config=config.labels.lower()))


def _extended_records(config: DataConfig) -> Sequence[Record]:
    if config.extended_dir:
        return open_lsp_extended(config.extended_dir)
    _check_files("extended_dir", config)
    from deeppose_jax.data import tfds_builders

    return tfds_builders.prepared_records(tfds_builders.LspExtended())


def _check_files(field: str, config: DataConfig) -> None:
    """Raises a UserError if training images are to stay in files, and TFDS would bring them into memory."""
    if config.placement == "files":
        raise UserError(
            f"config.data.{field}: '' with config.data.placement='files', and TFDS's images are read into memory; "
            "accepted: the folder of the data"
        )


def _join(first: Part, second: Part) -> Part:
    def joined(one: Any, other: Any) -> Any:
        if isinstance(one, LazyImages):
            return one.followed_by(other)
        return np.concatenate([one, other])

    poses = jax.tree.map(joined, first.poses, second.poses)
    return Part(poses, first.names + second.names)
