"""From a data configuration to the three parts of a run: training, validation and test."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from deeppose_jax import synthetic
from deeppose_jax.config import DataConfig
from deeppose_jax.data.canvas import prepare
from deeppose_jax.data.lsp import Record, open_lsp, open_lsp_extended
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.data.splits import splits
from deeppose_jax.oks import People
from deeppose_jax.skeleton import LSP, Skeleton
from engine_jax import parts
from engine_jax.errors import UserError


@dataclass(frozen=True)
class Part:
    """A part of a data set.

    Attributes:
        poses: a person and an image each.
        names: of the images, or of the people in them.
        people: what COCO's scores are measured on, if the data set has their boxes and areas: those of `poses` in the
            same order, then those that no score counts.
    """

    poses: PoseSet
    names: list[str]
    people: People | None = None

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Parts(parts.Parts[Part]):
    """The three parts of a run's data.

    Attributes:
        added: number of trailing training images from a data set that isn't tested on.
        skeleton: what the joints are.
    """

    added: int = 0
    skeleton: Skeleton = LSP


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
    records = _lsp_records(config)
    chosen = splits(len(records), config.split, validation=config.validation, seed=seed)
    loaded = {
        name: _prepare([records[i] for i in indices], config, "image")
        for name, indices in chosen.items()
    }
    for name, part in loaded.items():
        _check_labels(name, part)
    if config.dataset == "lsp":
        return Parts(loaded["train"], loaded["validation"], loaded["test"])
    extended = _prepare(_extended_records(config), config, config.extended_box)
    joined = _join(loaded["train"], extended)
    return Parts(joined, loaded["validation"], loaded["test"], added=len(extended))


def _synthetic(config: DataConfig, seed: int) -> Parts:
    sizes = {"train": config.train, "validation": config.validation, "test": config.test}
    rendered, start = {}, 0
    for name, count in sizes.items():
        poses = synthetic.figures(seed, count, config.canvas, start=start)
        rendered[name] = Part(poses, [f"figure {i}" for i in range(start, start + count)])
        start += count
    return Parts(rendered["train"], rendered["validation"], rendered["test"])


def _lsp_records(config: DataConfig) -> Sequence[Record]:
    if config.dir:
        return open_lsp(config.dir, config.labels)
    # Imported here: tensorflow-datasets takes seconds to load, and most runs name a folder.
    from deeppose_jax.data import tfds_builders

    return tfds_builders.prepared_records(tfds_builders.Lsp(config=config.labels.lower()))


def _extended_records(config: DataConfig) -> Sequence[Record]:
    if config.extended_dir:
        return open_lsp_extended(config.extended_dir)
    from deeppose_jax.data import tfds_builders

    return tfds_builders.prepared_records(tfds_builders.LspExtended())


def _prepare(
    records: Sequence[Record], config: DataConfig, box: Literal["image", "joints"]
) -> Part:
    poses, names = prepare(
        records,
        config.canvas,
        box,
        config.extended_box_scale,
        skip_unreadable=config.skip_unreadable,
    )
    return Part(poses, names)


def _check_labels(name: str, part: Part) -> None:
    """Says how many images of a part have no labelled joint.

    Raises:
        UserError: none of those that train or choose the parameters has one.
    """
    usable, count = int(part.poses.labelled.any(1).sum()), len(part)
    if usable == count:
        return
    if usable == 0 and name != "test":
        raise UserError(
            f"the {name} part: none of its {count} images has a labelled joint; expected some"
        )
    logging.warning(
        "the %s part: %d of %d images have a labelled joint inside the image", name, usable, count
    )


def _join(first: Part, second: Part) -> Part:
    arrays = {
        field.name: np.concatenate(
            [getattr(first.poses, field.name), getattr(second.poses, field.name)]
        )
        for field in fields(PoseSet)
    }
    return Part(PoseSet(**arrays), first.names + second.names)
