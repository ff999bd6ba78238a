"""Pose data sets: from published archives to arrays.

    kind, records = open_folder("lsp_dataset.zip")      # or open_lsp, open_lsp_extended
    parts = splits(len(records))
    train, names = prepare([records[i] for i in parts["train"]], canvas=256)

`open_coco` reads people of any joints in COCO's format; `deeppose_jax.train.train` takes `Parts` of one's own.
`deeppose_jax.data.tfds_builders` does the same through tensorflow-datasets.
"""

from deeppose_jax.data.canvas import joint_box, place, prepare
from deeppose_jax.data.coco import CocoSet, open_coco
from deeppose_jax.data.lsp import open_folder, open_lsp, open_lsp_extended
from deeppose_jax.data.parts import Part, Parts
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.data.record import Record
from deeppose_jax.data.splits import splits

__all__ = [
    "CocoSet",
    "Part",
    "Parts",
    "PoseSet",
    "Record",
    "joint_box",
    "open_coco",
    "open_folder",
    "open_lsp",
    "open_lsp_extended",
    "place",
    "prepare",
    "splits",
]
