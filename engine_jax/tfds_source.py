"""Data sets as tensorflow-datasets builders, prepared and read without TensorFlow.

Images are stored as the published, encoded bytes in ArrayRecord files. This is the one importer of tensorflow-datasets,
which takes seconds to load: only the modules of builders import it.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import tensorflow_datasets as tfds

from engine_jax.errors import UserError

Record = TypeVar("Record")
Split = TypeVar("Split", bound=str)


class SourceBuilder(tfds.core.GeneratorBasedBuilder, Generic[Record], skip_registration=True):
    """A data set that is prepared from files which the user has, not from a download.

    Subclasses define `open_source`, `splits`, `identity`, `features` and `example`.

    Attributes:
        IDENTITY: what `identity` looks at, as messages and the prepared set's metadata call it.
        CITATION: of the data set.

    Args:
        source: the published archive or folder; by default, what is in TFDS's manual directory.
        kwargs: data_dir, config and version, as every TFDS builder takes them.
    """

    VERSION = tfds.core.Version("1.0.0")
    IDENTITY: ClassVar[str] = "files"
    CITATION: ClassVar[str] = ""
    # Nothing is downloaded: there are no checksums to look for.
    url_infos = None

    def __init__(self, *, source: str | Path | None = None, **kwargs: Any):
        self._source = source
        self._metadata = tfds.core.MetadataDict()
        kwargs.setdefault("file_format", "array_record")
        super().__init__(**kwargs)

    def open_source(self, path: str | Path) -> list[Record]:
        """The records of the published archive or folder at `path`."""
        raise NotImplementedError

    def splits(self, records: Sequence[Record]) -> dict[str, Sequence[Record]]:
        """The records of each split."""
        raise NotImplementedError

    def identity(self, record: Record) -> Iterator[bytes]:
        """What tells a record from another data set's."""
        raise NotImplementedError

    def features(self) -> dict[str, Any]:
        """What is stored of each record, as TFDS's features."""
        raise NotImplementedError

    def example(self, record: Record) -> dict[str, Any]:
        """What is stored of one record."""
        raise NotImplementedError

    def in_manual_dir(self, folder: Path) -> Path:
        """What to open in TFDS's manual directory."""
        return folder

    def prepare(self) -> None:
        """Prepares the data set unless that has been done.

        Raises:
            UserError: there is nothing to prepare from, or what was prepared earlier isn't what `source` holds.
        """
        self.download_and_prepare()
        if self._source is None:
            return
        metadata = self.info.metadata  # As stored in data_dir; `_metadata` is what gets written.
        prepared = metadata.get(self.IDENTITY) if isinstance(metadata, dict) else None
        if prepared != self._fingerprint(self.open_source(self._source)):
            raise UserError(
                f"{self.data_dir}: was prepared from other {self.IDENTITY} than {self._source} holds; "
                "delete that folder to prepare it again, or choose another data_dir"
            )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        splits = self.splits(self._published(dl_manager))
        return {split: self._generate_examples(records) for split, records in splits.items()}

    def _generate_examples(self, records: Sequence[Record]) -> Iterator[tuple[int, dict[str, Any]]]:
        return enumerate(map(self.example, records))

    def _published(self, dl_manager: tfds.download.DownloadManager) -> list[Record]:
        """The records of `source`, or of what is in the manual directory.

        Raises:
            UserError: there is none.
        """
        path = self._source
        if path is None:
            try:
                path = self.in_manual_dir(Path(str(dl_manager.manual_dir)))
            except AssertionError as error:  # TFDS's way to say that it is missing or empty.
                raise UserError(" ".join(str(error).split())) from error
        records = self.open_source(path)
        self._metadata[self.IDENTITY] = self._fingerprint(records)
        return records

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(self.features()),
            citation=self.CITATION,
            metadata=self._metadata,
            disable_shuffling=True,  # Files keep the published order.
        )

    def _fingerprint(self, records: Sequence[Record]) -> str:
        digest = hashlib.sha256()
        for record in records:
            for part in self.identity(record):
                digest.update(part)
        return digest.hexdigest()


def read_back(
    builder: Any, splits: Iterable[Split], images: Sequence[str] = ("image",)
) -> Iterator[tuple[Split, dict[str, Any]]]:
    """Each example of a prepared data set with the name of its split.

    Args:
        builder: a TFDS builder.
        splits: which to read, in this order.
        images: the features that stay encoded bytes.
    """
    decoders = {name: tfds.decode.SkipDecoding() for name in images}
    for split in splits:
        for example in builder.as_data_source(split, decoders=decoders):
            yield split, example
