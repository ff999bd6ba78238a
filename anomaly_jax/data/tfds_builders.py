"""MVTec AD as a tensorflow-datasets builder, prepared and read without TensorFlow.

Images and masks are stored as the published, encoded bytes in ArrayRecord files:

    records = prepared_records(MvtecAd(config="hazelnut", source="hazelnut.tar.xz"))

gives what `open_category` gives, and prepares the category the first time.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from anomaly_jax.data.image_set import GOOD
from anomaly_jax.data.layouts import open_category
from anomaly_jax.data.mvtec import Category
from anomaly_jax.data.records import Record
from engine_jax.errors import UserError
from engine_jax.image_files import read_bytes
from engine_jax.images import decode_rgb
from engine_jax.tfds_source import SourceBuilder, read_back, tfds

_SPLITS: tuple[Literal["train", "test"], ...] = ("train", "test")
_CITATION = """
@inproceedings{bergmann2019mvtec,
  author = {Bergmann, Paul and Fauser, Michael and Sattlegger, David and Steger, Carsten},
  title = {{MVTec AD} -- A Comprehensive Real-World Dataset for Unsupervised Anomaly Detection},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year = {2019}
}
"""


class MvtecAd(SourceBuilder[Record], skip_registration=True):
    """MVTec AD: good images of one category to train on, good and faulty ones to test on.

    Published under CC BY-NC-SA 4.0.

    Args:
        source: the category's folder or archive; by default, what is named after the category in
            TFDS's manual directory.
        config: a published category's name, or any tfds.core.BuilderConfig for another data set in
            the same layout.
        kwargs: data_dir and version, as every TFDS builder takes them.
    """

    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in get_args(Category)]  # noqa: RUF012
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Download the category from https://www.mvtec.com/company/research/datasets/mvtec-ad and put its
    archive (hazelnut.tar.xz) or its folder (hazelnut) into the manual directory.
    """
    CITATION = _CITATION

    def open_source(self, path: str | Path) -> list[Record]:
        return open_category(path)

    def identity(self, record: Record) -> Iterator[bytes]:
        yield f"{record.name} {record.read_mask is not None}".encode()
        yield read_bytes(record.read, record.name)
        if record.read_mask is not None:
            yield read_bytes(record.read_mask, f"mask of {record.name}")

    def features(self) -> dict[str, Any]:
        return {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "mask": tfds.features.Image(shape=(None, None, 1)),
            "labelled": tfds.features.Scalar(np.bool_),
            "defect": tfds.features.Text(),
            "name": tfds.features.Text(),
        }

    def in_manual_dir(self, folder: Path) -> Path:
        """The category's folder or archive."""
        category = self.builder_config.name if self.builder_config else ""
        names = [category, *(f"{category}{end}" for end in (".tar.xz", ".tar", ".zip"))]
        for name in names:
            if (folder / name).exists():
                return folder / name
        raise UserError(f"{folder}: found none of {', '.join(names)}")

    def splits(self, records: Sequence[Record]) -> dict[str, Sequence[Record]]:
        return {split: [record for record in records if record.split == split] for split in _SPLITS}

    def example(self, record: Record) -> dict[str, Any]:
        image = read_bytes(record.read, record.name)
        if record.read_mask is not None:
            mask = read_bytes(record.read_mask, f"mask of {record.name}")
        else:
            mask = _empty_mask(decode_rgb(image, record.name).size)
        return {
            "image": image,
            "mask": mask,
            "labelled": record.labelled,
            "defect": record.defect,
            "name": record.name,
        }


def prepared_records(builder: MvtecAd) -> list[Record]:
    """Prepares a category unless that has been done, and reads it back.

    Returns:
        The records in the order of `open_category`, with their encoded images in memory.

    Raises:
        UserError: there is nothing to prepare from, an image can't be read, or what was prepared
            earlier isn't the builder's `source`.
    """
    builder.prepare()
    records = []
    for split, example in read_back(builder, _SPLITS, ("image", "mask")):
        defect = example["defect"].decode()
        faulty = defect != GOOD and example["labelled"]
        records.append(
            Record(
                name=example["name"].decode(),
                split=split,
                defect=defect,
                read=lambda data=example["image"]: data,
                read_mask=(lambda data=example["mask"]: data) if faulty else None,
            )
        )
    return records


def _empty_mask(size: tuple[int, int]) -> bytes:
    encoded = io.BytesIO()
    Image.new("L", size).save(encoded, "PNG")
    return encoded.getvalue()
