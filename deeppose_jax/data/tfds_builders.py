"""LSP and LSP Extended as tensorflow-datasets builders, prepared and read without TensorFlow.

Images are stored as the published, encoded bytes in ArrayRecord files, joints as exact float64:

    records = prepared_records(Lsp(config="pc", source="lsp_dataset_original.zip"))

gives what `open_lsp` gives, and prepares the data set the first time.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeppose_jax.data.lsp import Labels, open_folder
from deeppose_jax.data.mat_files import Kind
from deeppose_jax.data.record import Record
from deeppose_jax.skeleton import LSP
from engine_jax.image_files import read_bytes
from engine_jax.tfds_source import SourceBuilder, read_back, tfds

_MANUAL = """
Put {archive} or the folder that was unpacked from it into the manual directory. Its original
address, {url}, often doesn't answer.
"""
_LSP_CITATION = """
@inproceedings{johnson2010clustered,
  author = {Johnson, Sam and Everingham, Mark},
  title = {Clustered Pose and Nonlinear Appearance Models for Human Pose Estimation},
  booktitle = {British Machine Vision Conference},
  year = {2010}
}
"""
_LSPET_CITATION = """
@inproceedings{johnson2011learning,
  author = {Johnson, Sam and Everingham, Mark},
  title = {Learning Effective Human Pose Estimation from Inaccurate Annotation},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition},
  year = {2011}
}
"""


def _features(*, occluded: bool) -> dict[str, Any]:
    k = LSP.num_joints
    features: dict[str, Any] = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "name": tfds.features.Text(),
        # TFDS would store float64 as float32 unless it is told to keep the bytes.
        "joints": tfds.features.Tensor(shape=(k, 2), dtype=np.float64, encoding="bytes"),
        "labelled": tfds.features.Tensor(shape=(k,), dtype=np.bool_),
    }
    if occluded:
        features["occluded"] = tfds.features.Tensor(shape=(k,), dtype=np.bool_)
    return features


class _Published(SourceBuilder[Record], skip_registration=True):
    """What the two published data sets share."""

    KIND: Kind
    SPLITS: tuple[str, ...]
    IDENTITY = "joints"

    def open_source(self, path: str | Path) -> list[Record]:
        labels: Labels = "OC" if self.builder_config and self.builder_config.name == "oc" else "PC"
        return open_folder(path, labels, kind=self.KIND)[1]

    def identity(self, record: Record) -> Iterator[bytes]:
        yield record.name.encode() + record.joints.tobytes() + record.labelled.tobytes()

    def features(self) -> dict[str, Any]:
        return _features(occluded=self.KIND == "lsp")

    def example(self, record: Record) -> dict[str, Any]:
        example = {
            "image": read_bytes(record.read, record.name),
            "name": record.name,
            "joints": record.joints,
            "labelled": record.labelled,
        }
        if record.occluded is not None:
            example["occluded"] = record.occluded
        return example


class Lsp(_Published):
    """Leeds Sports Pose: 2,000 images of athletes with 14 joints each."""

    KIND = "lsp"
    CITATION = _LSP_CITATION
    SPLITS = ("train", "test")
    BUILDER_CONFIGS = [  # noqa: RUF012 (TFDS reads a list)
        tfds.core.BuilderConfig(name="pc", description="left is the person's left"),
        tfds.core.BuilderConfig(name="oc", description="left is the viewer's left"),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = _MANUAL.format(
        archive="lsp_dataset.zip (or lsp_dataset_original.zip)",
        url="https://sam.johnson.io/research/lsp_dataset.zip",
    )

    def splits(self, records: Sequence[Record]) -> dict[str, Sequence[Record]]:
        half = len(records) // 2
        return {"train": records[:half], "test": records[half:]}


class LspExtended(_Published):
    """LSP Extended: 10,000 images for training, with some of 14 joints each."""

    KIND = "lspet"
    CITATION = _LSPET_CITATION
    SPLITS = ("train",)
    MANUAL_DOWNLOAD_INSTRUCTIONS = _MANUAL.format(
        archive="lspet_dataset.zip",
        url="https://sam.johnson.io/research/lspet_dataset.zip",
    )

    def splits(self, records: Sequence[Record]) -> dict[str, Sequence[Record]]:
        return {"train": records}


def prepared_records(builder: Lsp | LspExtended) -> list[Record]:
    """Prepares a data set unless that has been done, and reads it back.

    Returns:
        The records in the published order, with their encoded images in memory.

    Raises:
        UserError: there is nothing to prepare from, or what was prepared earlier isn't the
            builder's `source`.
    """
    builder.prepare()
    return [
        Record(
            name=example["name"].decode(),
            read=lambda data=example["image"]: data,
            joints=example["joints"],
            labelled=example["labelled"],
            occluded=example.get("occluded"),
        )
        for _, example in read_back(builder, builder.SPLITS)
    ]
