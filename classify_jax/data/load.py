"""The three parts of a run: training, validation (which the parameters are chosen on) and test."""

from collections.abc import Sequence

from classify_jax import synthetic
from classify_jax.config import DataConfig
from classify_jax.data.folder import Record, class_names, open_folder
from classify_jax.data.image_set import ImageSet
from classify_jax.data.prepare import prepare
from classify_jax.data.splits import splits
from engine_jax import parts


class Parts(parts.Parts[ImageSet]):
    """The three parts of a data set, all of the same classes."""

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.train.class_names


def load_parts(config: DataConfig, seed: int) -> Parts:
    """Renders or reads the data set that `config` names.

    Args:
        config: of the data.
        seed: chooses the shapes that are rendered, or the images that are cut from a data set's training part.

    Raises:
        UserError: the data set isn't there or can't be used.
    """
    if config.dataset == "synthetic":
        return _shapes(config, seed)
    records = _records(config)
    classes = class_names(records, config.dir or config.name)
    chosen = splits(records, config.validation, config.test, seed=seed)
    return Parts(
        **{
            name: prepare(
                part,
                config.size,
                classes,
                skip_unreadable=config.skip_unreadable,
                in_files=name == "train" and config.placement == "files",
            )
            for name, part in chosen.items()
        }
    )


def _records(config: DataConfig) -> Sequence[Record]:
    if config.dataset == "folder":
        return open_folder(config.dir)
    # Imported here: tensorflow-datasets takes seconds to load, and most runs name a folder.
    from classify_jax.data.tfds_sets import tfds_records

    return tfds_records(config.name, config.dir)


def rendered_size(config: DataConfig) -> int | None:
    """How many shapes will be rendered to train on; None where images are read."""
    return _counts(config)["train"] if config.dataset == "synthetic" else None


def _counts(config: DataConfig) -> dict[str, int]:
    """How many shapes are rendered for each part."""
    held_out = {
        "validation": round(config.validation * config.rendered),
        "test": round(config.test * config.rendered),
    }
    counts = {"train": config.rendered - sum(held_out.values()), **held_out}
    return {name: max(count, 1) for name, count in counts.items()}


def _shapes(config: DataConfig, seed: int) -> Parts:
    """Renders the parts from one seed; no picture is in two of them."""
    rendered, start = {}, 0
    for name, count in _counts(config).items():
        images, labels = synthetic.shapes(seed, count, config.size, start)
        names = [f"{synthetic.CLASSES[k]} {i}" for i, k in enumerate(labels, start)]
        rendered[name] = ImageSet(images, labels, names, synthetic.CLASSES)
        start += count
    return Parts(**rendered)
