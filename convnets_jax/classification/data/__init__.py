"""Data sets for image classification: folders of images, TFDS's sets, or rendered shapes, as arrays.

parts = splits(open_folder("flowers"), validation=0.1, test=0.1)
train = prepare(parts["train"], size=256)
"""

from convnets_jax.classification.data.folder import Record, open_folder
from convnets_jax.classification.data.image_set import ImageSet
from convnets_jax.classification.data.pixels import decode, fit
from convnets_jax.classification.data.prepare import prepare
from convnets_jax.classification.data.splits import splits

__all__ = ["ImageSet", "Record", "decode", "fit", "open_folder", "prepare", "splits"]
