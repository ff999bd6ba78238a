"""Data sets for image classification: folders of images, TFDS's sets, or rendered shapes, as arrays.

parts = splits(open_folder("flowers"), validation=0.1, test=0.1)
train = prepare(parts["train"], size=256)
"""

from classify_jax.data.folder import Record, open_folder
from classify_jax.data.image_set import ImageSet
from classify_jax.data.pixels import fit
from classify_jax.data.prepare import prepare
from classify_jax.data.splits import splits

__all__ = ["ImageSet", "Record", "fit", "open_folder", "prepare", "splits"]
