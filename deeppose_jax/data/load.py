"""From a data configuration to the three parts of a run: training, validation and test."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np

from deeppose_jax import synthetic
from deeppose_jax.config import DataConfig
from deeppose_jax.data.canvas import prepare
from deeppose_jax.data.labels import check_usable, scored_as_trained
from deeppose_jax.data.lsp import Record, open_lsp, open_lsp_extended
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.data.splits import splits
from deeppose_jax.skeleton import LSP, Skeleton
from engine_jax import parts


@dataclass(frozen=True)
class Part:
    """A part of a data set and its images' names."""

    poses: PoseSet
    names: list[str]

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
    train, added = loaded.pop("train"), 0
    if config.dataset == "lsp_and_extended":
        extended = _prepare(_extended_records(config), config, config.extended_box)
        check_usable("LSP Extended", extended.poses.labelled, LSP)
        train, added = _join(train, extended), len(extended)
    masked = scored_as_trained(train.poses, {name: p.poses for name, p in loaded.items()}, LSP)
    others = {name: replace(loaded[name], poses=poses) for name, poses in masked.items()}
    return Parts(train, others["validation"], others["test"], added=added)


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


def _join(first: Part, second: Part) -> Part:
    arrays = {
        field.name: np.concatenate(
            [getattr(first.poses, field.name), getattr(second.poses, field.name)]
        )
        for field in fields(PoseSet)
    }
    return Part(PoseSet(**arrays), first.names + second.names)
