"""Skeletons of well-known data sets, besides LSP's 14 joints, which are `deeppose_jax.skeleton.LSP`."""

from deeppose_jax.skeleton import LSP, make_skeleton

# COCO's key points of people (Lin et al., ECCV 2014), in the order of its annotations.
COCO = make_skeleton(
    (
        *("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
        *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow"),
        *("left_wrist", "right_wrist", "left_hip", "right_hip"),
        *("left_knee", "right_knee", "left_ankle", "right_ankle"),
    ),
    limbs=(
        *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7)),
        *((6, 8), (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
    ),
)

# MPII Human Pose (Andriluka et al., CVPR 2014). Its own PCKh takes 0.6 of the diagonal of an annotated box around the
# head; here the reference is the distance from upper neck to head top.
MPII = make_skeleton(
    (
        *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
        *("pelvis", "thorax", "upper_neck", "head_top"),
        *("right_wrist", "right_elbow", "right_shoulder"),
        *("left_shoulder", "left_elbow", "left_wrist"),
    ),
    limbs=(
        *((0, 1), (1, 2), (2, 6), (5, 4), (4, 3), (3, 6), (6, 7), (7, 8), (8, 9)),
        *((10, 11), (11, 12), (12, 7), (15, 14), (14, 13), (13, 7)),
    ),
)

# The joints of the upper body that FLIC labels (Sapp and Taskar, CVPR 2013).
FLIC = make_skeleton(
    (
        *("left_shoulder", "left_elbow", "left_wrist"),
        *("right_shoulder", "right_elbow", "right_wrist"),
        *("left_hip", "right_hip", "left_eye", "right_eye", "nose"),
    ),
    limbs=((0, 1), (1, 2), (3, 4), (4, 5), (0, 3), (0, 6), (3, 7), (6, 7), (8, 10), (9, 10)),
)

# By the names that configurations and command lines give them.
NAMED = {"lsp": LSP, "coco": COCO, "mpii": MPII, "flic": FLIC}
