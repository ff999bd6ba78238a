"""Data sets for anomaly detection: from folders and archives to arrays.

    parts = splits(open_category("transistor"))
    train, names, masks = prepare(parts["train"], size=256)

`anomaly_jax.data.tfds_builders` does the same through tensorflow-datasets.
"""

from anomaly_jax.data.image_set import GOOD, ImageSet
from anomaly_jax.data.layouts import open_category
from anomaly_jax.data.pixels import fit_mask
from anomaly_jax.data.prepare import Sample, prepare, read_sample
from anomaly_jax.data.records import Record
from anomaly_jax.data.splits import splits
from anomaly_jax.framing import fit

__all__ = [
    "GOOD",
    "ImageSet",
    "Record",
    "Sample",
    "fit",
    "fit_mask",
    "open_category",
    "prepare",
    "read_sample",
    "splits",
]
