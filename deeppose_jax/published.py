"""Scores of published methods on Leeds Sports Pose, for comparison with a model's own.

LSP's official test half (images 1001 to 2000), in percent, computed with `metrics.score` from the
keypoints in https://github.com/farrajota/human-pose-benchmark (MIT licence). They agree to the digit
with the scores that this collection gives. The methods score parts or heat maps; none of them is a
plain regression from the whole image.

- Wang and Li 2013: Wang and Li, "Beyond Physical Connections: Tree Models in Human Pose
  Estimation", CVPR 2013.
- Tompson et al. 2014: Tompson, Jain, LeCun and Bregler, "Joint Training of a Convolutional
  Network and a Graphical Model for Human Pose Estimation", NIPS 2014.
- Yang et al. 2016: Yang, Ouyang, Li and Wang, "End-to-End Learning of Deformable Mixture of
  Parts and Deep Convolutional Neural Networks for Human Pose Estimation", CVPR 2016.
- Chu et al. 2016: Chu, Ouyang, Li and Wang, "Structured Feature Learning for Pose Estimation",
  CVPR 2016.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

PDJ_THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)


@dataclass(frozen=True)
class Published:
    """A method's scores under one kind of labels.

    Attributes:
        method: authors and year.
        folder: the method's folder in the collection.
        labels: person-centric ("PC") or observer-centric ("OC") ground truth; scores under the two
            are not comparable.
        pcp_strict: PCP at 0.5, with the keys of `metrics.score`.
        pcp_loose: likewise.
        pdj: PDJ at each of PDJ_THRESHOLDS, by joint group.
    """

    method: str
    folder: str
    labels: Literal["PC", "OC"]
    pcp_strict: Mapping[str, float]
    pcp_loose: Mapping[str, float]
    pdj: Mapping[str, tuple[float, ...]]

    def curve(self, joint: str = "total") -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Thresholds, and PDJ at them for one joint group."""
        return PDJ_THRESHOLDS, self.pdj[joint]


PUBLISHED = (
    Published(
        method="Wang and Li 2013",
        folder="WangLiCVPR13",
        labels="PC",
        pcp_strict={
            "torso": 87.5,
            "upper_leg": 56.0,
            "lower_leg": 55.8,
            "upper_arm": 43.1,
            "lower_arm": 32.1,
            "head": 79.1,
            "ten_sticks": 54.1,
            "six_parts": 59.0,
            "four_limbs": 46.8,
        },
        pcp_loose={
            "torso": 92.4,
            "upper_leg": 68.4,
            "lower_leg": 59.8,
            "upper_arm": 51.1,
            "lower_arm": 36.1,
            "head": 84.7,
            "ten_sticks": 60.8,
            "six_parts": 65.4,
            "four_limbs": 53.9,
        },
        pdj={
            "head": (30.2, 65.6, 79.4, 84.7, 87.3, 89.3, 91.1, 92.4, 93.7, 94.3),
            "shoulder": (14.6, 36.7, 49.7, 57.1, 63.4, 67.1, 71.1, 74.9, 79.0, 82.7),
            "elbow": (10.1, 26.4, 35.7, 43.7, 48.6, 52.5, 55.9, 58.6, 61.5, 64.3),
            "wrist": (10.0, 24.7, 32.1, 36.7, 39.8, 42.2, 45.5, 48.0, 50.5, 53.0),
            "hip": (9.9, 29.8, 45.1, 56.7, 64.2, 73.0, 78.9, 84.3, 86.5, 88.7),
            "knee": (12.9, 34.0, 45.2, 52.4, 57.0, 60.7, 65.2, 68.1, 71.2, 73.8),
            "ankle": (15.9, 36.3, 45.7, 50.8, 54.4, 56.3, 58.9, 60.6, 62.7, 64.7),
            "total": (14.8, 36.2, 47.6, 54.6, 59.2, 63.0, 66.7, 69.6, 72.2, 74.5),
        },
    ),
    Published(
        method="Tompson et al. 2014",
        folder="TompsonNIPS14",
        labels="PC",
        pcp_strict={
            "torso": 90.3,
            "upper_leg": 70.4,
            "lower_leg": 61.1,
            "upper_arm": 63.0,
            "lower_arm": 51.2,
            "head": 83.7,
            "ten_sticks": 66.6,
            "six_parts": 70.0,
            "four_limbs": 61.5,
        },
        pcp_loose={
            "torso": 94.5,
            "upper_leg": 79.1,
            "lower_leg": 69.6,
            "upper_arm": 70.4,
            "lower_arm": 57.0,
            "head": 89.7,
            "ten_sticks": 73.7,
            "six_parts": 76.7,
            "four_limbs": 69.0,
        },
        pdj={
            "head": (41.0, 76.2, 86.2, 90.6, 92.3, 93.5, 94.7, 95.2, 95.9, 96.2),
            "shoulder": (32.2, 63.2, 73.8, 79.2, 82.7, 84.7, 86.3, 88.2, 90.1, 91.6),
            "elbow": (30.1, 54.2, 63.5, 67.9, 70.8, 73.2, 75.8, 77.3, 78.8, 80.5),
            "wrist": (28.2, 50.5, 59.8, 63.4, 66.0, 68.2, 70.1, 71.8, 73.5, 75.0),
            "hip": (16.9, 42.0, 59.4, 69.5, 76.4, 81.2, 85.2, 88.6, 90.6, 92.0),
            "knee": (29.9, 56.5, 66.3, 71.0, 74.2, 76.7, 78.6, 80.3, 82.0, 83.8),
            "ankle": (30.1, 53.4, 61.4, 64.2, 66.8, 68.8, 70.5, 71.7, 73.4, 75.2),
            "total": (29.8, 56.6, 67.2, 72.3, 75.6, 78.0, 80.2, 81.9, 83.5, 84.9),
        },
    ),
    Published(
        method="Yang et al. 2016",
        folder="YangCVPR16",
        labels="PC",
        pcp_strict={
            "torso": 95.6,
            "upper_leg": 78.5,
            "lower_leg": 71.8,
            "upper_arm": 72.2,
            "lower_arm": 61.8,
            "head": 83.9,
            "ten_sticks": 74.8,
            "six_parts": 77.3,
            "four_limbs": 71.1,
        },
        pcp_loose={
            "torso": 96.3,
            "upper_leg": 82.8,
            "lower_leg": 76.5,
            "upper_arm": 77.0,
            "lower_arm": 67.7,
            "head": 91.7,
            "ten_sticks": 79.6,
            "six_parts": 82.0,
            "four_limbs": 76.0,
        },
        pdj={
            "head": (19.3, 53.8, 79.2, 90.6, 94.0, 95.5, 96.2, 96.4, 96.5, 96.8),
            "shoulder": (17.8, 48.4, 69.3, 78.1, 82.2, 84.3, 86.0, 87.9, 89.8, 91.5),
            "elbow": (18.6, 50.3, 68.0, 73.8, 77.6, 79.3, 80.8, 82.5, 83.2, 84.4),
            "wrist": (15.7, 43.5, 61.0, 68.8, 72.7, 75.1, 77.3, 79.3, 80.4, 82.2),
            "hip": (10.9, 37.5, 60.8, 74.8, 83.1, 87.7, 91.5, 93.8, 94.8, 95.5),
            "knee": (12.4, 39.5, 59.9, 69.9, 74.8, 78.2, 80.1, 82.5, 84.6, 86.2),
            "ankle": (7.6, 25.5, 45.4, 58.9, 68.6, 73.4, 76.6, 78.5, 80.1, 81.5),
            "total": (14.6, 42.6, 63.4, 73.6, 79.0, 81.9, 84.0, 85.9, 87.1, 88.3),
        },
    ),
    Published(
        method="Yang et al. 2016",
        folder="YangCVPR16",
        labels="OC",
        pcp_strict={
            "torso": 96.5,
            "upper_leg": 88.7,
            "lower_leg": 81.7,
            "upper_arm": 78.8,
            "lower_arm": 66.7,
            "head": 83.1,
            "ten_sticks": 81.1,
            "six_parts": 82.6,
            "four_limbs": 79.0,
        },
        pcp_loose={
            "torso": 97.3,
            "upper_leg": 91.6,
            "lower_leg": 85.4,
            "upper_arm": 84.4,
            "lower_arm": 72.7,
            "head": 91.8,
            "ten_sticks": 85.7,
            "six_parts": 87.2,
            "four_limbs": 83.5,
        },
        pdj={
            "head": (18.0, 51.0, 78.0, 90.6, 94.5, 96.3, 96.7, 97.0, 97.3, 97.4),
            "shoulder": (21.9, 57.8, 80.3, 89.1, 92.2, 94.2, 95.3, 96.1, 96.5, 96.8),
            "elbow": (19.4, 52.4, 71.0, 80.3, 83.8, 86.0, 88.0, 89.2, 90.2, 91.5),
            "wrist": (16.6, 45.6, 66.2, 73.5, 77.9, 80.4, 81.8, 82.9, 84.3, 85.8),
            "hip": (14.2, 47.0, 72.6, 85.5, 91.3, 94.3, 95.8, 96.6, 96.8, 97.0),
            "knee": (15.6, 46.3, 71.8, 82.8, 86.0, 88.9, 90.2, 90.8, 91.6, 92.6),
            "ankle": (7.8, 28.1, 51.2, 68.8, 79.1, 83.8, 85.8, 87.3, 88.3, 89.1),
            "total": (16.2, 46.9, 70.2, 81.5, 86.4, 89.1, 90.5, 91.4, 92.2, 92.9),
        },
    ),
    Published(
        method="Chu et al. 2016",
        folder="ChuCVPR16",
        labels="OC",
        pcp_strict={
            "torso": 95.4,
            "upper_leg": 87.6,
            "lower_leg": 83.2,
            "upper_arm": 76.9,
            "lower_arm": 65.2,
            "head": 89.6,
            "ten_sticks": 81.1,
            "six_parts": 83.0,
            "four_limbs": 78.2,
        },
        pcp_loose={
            "torso": 97.2,
            "upper_leg": 91.5,
            "lower_leg": 86.2,
            "upper_arm": 83.3,
            "lower_arm": 71.8,
            "head": 93.0,
            "ten_sticks": 85.6,
            "six_parts": 87.2,
            "four_limbs": 83.2,
        },
        pdj={
            "head": (31.0, 74.3, 89.0, 93.7, 95.3, 95.8, 96.7, 97.0, 97.1, 97.3),
            "shoulder": (25.3, 62.4, 79.2, 87.2, 90.8, 93.0, 94.4, 95.2, 95.7, 96.2),
            "elbow": (21.1, 52.3, 69.8, 78.2, 81.9, 84.8, 86.8, 88.8, 89.9, 90.8),
            "wrist": (19.9, 50.7, 67.4, 73.8, 77.5, 79.8, 81.2, 82.8, 84.4, 85.7),
            "hip": (22.2, 56.6, 78.3, 88.2, 92.4, 94.3, 95.2, 95.8, 96.1, 96.4),
            "knee": (25.7, 63.9, 78.7, 83.0, 86.5, 88.2, 89.4, 90.8, 91.6, 92.3),
            "ankle": (21.9, 57.8, 74.3, 80.9, 83.2, 84.9, 86.0, 87.2, 88.0, 88.4),
            "total": (23.9, 59.7, 76.7, 83.6, 86.8, 88.7, 90.0, 91.1, 91.8, 92.4),
        },
    ),
)
