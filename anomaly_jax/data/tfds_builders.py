"""MVTec AD as a tensorflow-datasets builder, prepared and read without TensorFlow.

Images and masks are stored as the published, encoded bytes in ArrayRecord files:

    records = prepared_records(MvtecAd(config="hazelnut", source="hazelnut.tar.xz"))

gives what `open_mvtec` gives, and prepares the category the first time. This is the package's only
module that imports tensorflow-datasets.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from anomaly_jax.data.image_set import GOOD
from anomaly_jax.data.mvtec import Category, Record, open_mvtec, read_bytes
from anomaly_jax.data.pixels import decode
from engine_jax.errors import UserError

_CITATION = """
@inproceedings{bergmann2019mvtec,
  author = {Bergmann, Paul and Fauser, Michael and Sattlegger, David and Steger, Carsten},
  title = {{MVTec AD} -- A Comprehensive Real-World Dataset for Unsupervised Anomaly Detection},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year = {2019}
}
"""


class MvtecAd(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """MVTec AD: good images of one category to train on, good and faulty ones to test on.

    Published under CC BY-NC-SA 4.0.

    Args:
        source: the category's folder or archive; by default, what is named after the category in
            TFDS's manual directory.
        config: a published category's name, or any tfds.core.BuilderConfig for another data set in
            the same layout.
        kwargs: data_dir and version, as every TFDS builder takes them.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in get_args(Category)]  # noqa: RUF012
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Download the category from https://www.mvtec.com/company/research/datasets/mvtec-ad and put its
    archive (hazelnut.tar.xz) or its folder (hazelnut) into the manual directory.
    """
    # Nothing is downloaded. TFDS 4.9.10 would look for a list of checksums with importlib_resources,
    # which it doesn't ask pip for.
    url_infos = None

    def __init__(self, *, source: str | Path | None = None, **kwargs: Any):
        self._source = source
        self._metadata = tfds.core.MetadataDict()
        kwargs.setdefault("file_format", "array_record")
        super().__init__(**kwargs)

    def check_source(self) -> None:
        """Makes sure that what was prepared in data_dir is what `source` holds.

        Raises:
            UserError: it was prepared from other files.
        """
        if self._source is None:
            return
        metadata = self.info.metadata  # As stored in data_dir; `_metadata` is what gets written.
        prepared = metadata.get("files") if isinstance(metadata, dict) else None
        if prepared != _fingerprint(open_mvtec(self._source)):
            raise UserError(
                f"{self.data_dir}: was prepared from other files than {self._source} holds; "
                "delete that folder to prepare it again, or choose another data_dir"
            )

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "mask": tfds.features.Image(shape=(None, None, 1)),
            "labelled": tfds.features.Scalar(np.bool_),
            "defect": tfds.features.Text(),
            "name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(features),
            citation=_CITATION,
            metadata=self._metadata,
            # Files keep the published order.
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        records = open_mvtec(self._source or self._in_manual_dir(dl_manager))
        self._metadata["files"] = _fingerprint(records)
        return {
            split: self._generate_examples([record for record in records if record.split == split])
            for split in ("train", "test")
        }

    def _in_manual_dir(self, dl_manager: tfds.download.DownloadManager) -> Path:
        """The category's folder or archive in TFDS's manual directory."""
        try:
            folder = Path(str(dl_manager.manual_dir))
        except AssertionError as error:  # TFDS's way to say that it is missing or empty.
            raise UserError(str(error)) from error
        category = self.builder_config.name if self.builder_config else ""
        names = [category, *(f"{category}{end}" for end in (".tar.xz", ".tar", ".zip"))]
        for name in names:
            if (folder / name).exists():
                return folder / name
        raise UserError(f"{folder}: found none of {', '.join(names)}")

    def _generate_examples(self, records: Sequence[Record]) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, record in enumerate(records):
            image = read_bytes(record.read, record.name)
            if record.read_mask is not None:
                mask = read_bytes(record.read_mask, f"mask of {record.name}")
            else:
                mask = _empty_mask(decode(image, record.name).size)
            yield (
                index,
                {
                    "image": image,
                    "mask": mask,
                    "labelled": record.labelled,
                    "defect": record.defect,
                    "name": record.name,
                },
            )


def prepared_records(builder: MvtecAd) -> list[Record]:
    """Prepares a category unless that has been done, and reads it back.

    Returns:
        The records in the order of `open_mvtec`, with their encoded images in memory.

    Raises:
        UserError: there is nothing to prepare from, an image can't be read, or what was prepared
            earlier isn't the builder's `source`.
    """
    builder.download_and_prepare()
    builder.check_source()
    skip = {"image": tfds.decode.SkipDecoding(), "mask": tfds.decode.SkipDecoding()}
    records = []
    for split in ("train", "test"):
        source = builder.as_data_source(split, decoders=skip)  # pyright: ignore[reportCallIssue]
        for example in source:
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


def _fingerprint(records: Sequence[Record]) -> str:
    """Tells one set of files from another."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(f"{record.name} {record.read_mask is not None}".encode())
        digest.update(read_bytes(record.read, record.name))
        if record.read_mask is not None:
            digest.update(read_bytes(record.read_mask, f"mask of {record.name}"))
    return digest.hexdigest()
