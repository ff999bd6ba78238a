"""The three parts of a run: training, validation (which thresholds are chosen on) and test."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from anomaly_jax import synthetic
from anomaly_jax.config import DataConfig
from anomaly_jax.data.image_set import GOOD, ImageSet
from anomaly_jax.data.layouts import open_category, open_good
from anomaly_jax.data.masks import Masks, PackedMask
from anomaly_jax.data.prepare import prepare
from anomaly_jax.data.records import Record
from anomaly_jax.data.splits import splits
from anomaly_jax.framing import Framing
from engine_jax import parts as of_data
from engine_jax.image_files import read_rgb


@dataclass(frozen=True)
class Part:
    """The images of one part of a data set.

    Attributes:
        images: resized to the network's input.
        names: of each.
        masks: of each, at its own size.
        framing: how images become squares; where these are tiles, `images` shows whole images, scaled down.
        reads: of each, returns the whole image; empty where images are squares already.
    """

    images: ImageSet
    names: list[str]
    masks: Masks
    framing: Framing
    reads: tuple[Callable[[], Image.Image], ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def square_count(self) -> int:
        """How many squares `squares` gives."""
        return sum(len(self.framing.boxes(*size)) for size in self.images.sizes.tolist())

    def squares(self) -> tuple[UInt8[np.ndarray, "k s s 3"], Int[np.ndarray, " k"]]:
        """What a network sees of the images, and the number of the image that each square shows."""
        numbers = np.arange(len(self), dtype=np.int32)
        if self.framing.fit != "tiles":
            return self.images.images, numbers
        boxes = [self.framing.boxes(*size) for size in self.images.sizes.tolist()]
        size = self.framing.size
        squares = np.empty((self.square_count, size, size, 3), np.uint8)
        first = np.cumsum([0, *map(len, boxes)])
        for i, read in enumerate(self.reads):
            image = read()
            for j, box in enumerate(boxes[i]):
                squares[first[i] + j] = self.framing.square(image, box)
        return squares, np.repeat(numbers, [len(each) for each in boxes])

    def chosen(self, indices: Int[np.ndarray, " m"]) -> "Part":
        """Some of the images."""
        return Part(
            jax.tree.map(lambda array: array[indices], self.images),
            [self.names[i] for i in indices],
            Masks(self.masks.packed[i] for i in indices),
            self.framing,
            tuple(self.reads[i] for i in indices) if self.reads else (),
        )


# Good images to train on, good images that thresholds are chosen on, and images to test on.
Parts = of_data.Parts[Part]


def load_parts(config: DataConfig, size: int, seed: int, cross_fit: bool = False) -> Parts:
    """Renders or reads the data set that `config` names, as images of `size` x `size` pixels.

    Args:
        config: of the data.
        size: side of the images.
        seed: chooses the nuts that are rendered, or the good images that are held out for validation.
        cross_fit: hold none out: all good images are both the training and the validation part.

    Raises:
        UserError: the data set isn't there or can't be used.
    """
    if config.dataset == "synthetic":
        parts = _nuts(config, size, seed)
    else:
        chosen = splits(_records(config), config.validation, seed=seed)
        parts = Parts(**{name: _read(records, config, size) for name, records in chosen.items()})
    if config.good:
        everything = _joined([parts.train, parts.validation])
        return Parts(everything, _read(open_good(config.good), config, size), parts.test)
    if cross_fit:
        good = _joined([parts.train, parts.validation])
        return Parts(good, good, parts.test)
    return parts


def _read(records: Sequence[Record], config: DataConfig, size: int) -> Part:
    framing = config.framing(size)
    if not records:
        return _no_images(framing)
    images, names, masks = prepare(
        records,
        size,
        letterbox=config.fit == "letterbox",
        white=config.white,
        skip_unreadable=config.skip_unreadable,
    )
    by_name = {record.name: record.read for record in records}
    reads = tuple(partial(read_rgb, by_name[name], name, config.white or None) for name in names)
    return Part(images, names, masks, framing, reads if config.fit == "tiles" else ())


def _no_images(framing: Framing) -> Part:
    """A part for what a data set hasn't got."""
    size = framing.size
    none = ImageSet(
        images=np.empty((0, size, size, 3), np.uint8),
        masks=np.empty((0, size, size), bool),
        labelled=np.empty(0, bool),
        defects=np.empty(0, np.int32),
        sizes=np.empty((0, 2), np.int32),
    )
    return Part(none, [], Masks([]), framing)


def rendered_size(config: DataConfig) -> int | None:
    """How many nuts will be rendered to train on; None where images are read."""
    return config.train - _held_out(config) if config.dataset == "synthetic" else None


def _held_out(config: DataConfig) -> int:
    """Of the rendered good nuts, those for validation: one or more, and never all."""
    return min(max(1, round(config.validation * config.train)), config.train - 1)


def _records(config: DataConfig) -> Sequence[Record]:
    if config.dir:
        return open_category(config.dir)
    # Imported here: tensorflow-datasets takes seconds to load, and most runs name a folder.
    from anomaly_jax.data import tfds_builders

    return tfds_builders.prepared_records(tfds_builders.MvtecAd(config=config.category))


def _nuts(config: DataConfig, size: int, seed: int) -> Parts:
    """Renders the parts from one seed; no nut is in two of them."""
    held_out = _held_out(config)
    train = config.train - held_out
    kinds = (None, *synthetic.DEFECTS)
    tested = [
        _rendered(seed, config.test, size, kind, config.train + i * config.test)
        for i, kind in enumerate(kinds)
    ]
    return Parts(
        _rendered(seed, train, size, None, 0),
        _rendered(seed, held_out, size, None, train),
        _joined(tested),
    )


def _joined(parts: Sequence[Part]) -> Part:
    """The images of several parts, of the same defects, in one."""
    return Part(
        jax.tree.map(lambda *arrays: np.concatenate(arrays), *(part.images for part in parts)),
        [name for part in parts for name in part.names],
        Masks(packed for part in parts for packed in part.masks.packed),
        parts[0].framing,
        tuple(read for part in parts for read in part.reads),
    )


def _rendered(seed: int, count: int, size: int, kind: str | None, start: int) -> Part:
    images, masks = synthetic.nuts(seed, count, size, kind, start)
    defect = 0 if kind is None else 1 + synthetic.DEFECTS.index(kind)
    rendered = ImageSet(
        images,
        masks,
        labelled=np.ones(count, bool),
        defects=np.full(count, defect, np.int32),
        sizes=np.full((count, 2), size, np.int32),
        defect_names=(GOOD, *synthetic.DEFECTS),
    )
    names = [f"{kind or GOOD} nut {i}" for i in range(start, start + count)]
    return Part(rendered, names, Masks(map(PackedMask.of, masks)), Framing(size))
