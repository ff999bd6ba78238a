"""Published methods on Leeds Sports Pose, to draw beside a model's own scores.

LSP's official test half (images 1001 to 2000), in percent, computed with `metrics.score` from the
keypoints in https://github.com/farrajota/human-pose-benchmark (MIT licence). Where that collection
prints a score too, the two agree to the digit. These methods score parts or heat maps; none of them
is a plain regression from the whole image.

- Wang and Li 2013: Wang and Li, "Beyond Physical Connections: Tree Models in Human Pose
  Estimation", CVPR 2013.
- Tompson et al. 2014: Tompson, Jain, LeCun and Bregler, "Joint Training of a Convolutional
  Network and a Graphical Model for Human Pose Estimation", NIPS 2014.
- Yang et al. 2016: Yang, Ouyang, Li and Wang, "End-to-End Learning of Deformable Mixture of
  Parts and Deep Convolutional Neural Networks for Human Pose Estimation", CVPR 2016.
- Chu et al. 2016: Chu, Ouyang, Li and Wang, "Structured Feature Learning for Pose Estimation",
  CVPR 2016.
"""

from dataclasses import dataclass
from typing import Literal

PDJ_THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)


@dataclass(frozen=True)
class Published:
    """A method's scores under one kind of labels.

    Attributes:
        method: authors and year.
        folder: the method's folder in the collection.
        labels: person-centric or observer-centric ground truth; scores under the two do not compare.
        pdj: PDJ of all joints at each of PDJ_THRESHOLDS.
    """

    method: str
    folder: str
    labels: Literal["PC", "OC"]
    pdj: tuple[float, ...]


_WANG = (14.8, 36.2, 47.6, 54.6, 59.2, 63.0, 66.7, 69.6, 72.2, 74.5)
_TOMPSON = (29.8, 56.6, 67.2, 72.3, 75.6, 78.0, 80.2, 81.9, 83.5, 84.9)
_YANG_PC = (14.6, 42.6, 63.4, 73.6, 79.0, 81.9, 84.0, 85.9, 87.1, 88.3)
_YANG_OC = (16.2, 46.9, 70.2, 81.5, 86.4, 89.1, 90.5, 91.4, 92.2, 92.9)
_CHU = (23.9, 59.7, 76.7, 83.6, 86.8, 88.7, 90.0, 91.1, 91.8, 92.4)

PUBLISHED = (
    Published("Wang and Li 2013", "WangLiCVPR13", "PC", _WANG),
    Published("Tompson et al. 2014", "TompsonNIPS14", "PC", _TOMPSON),
    Published("Yang et al. 2016", "YangCVPR16", "PC", _YANG_PC),
    Published("Yang et al. 2016", "YangCVPR16", "OC", _YANG_OC),
    Published("Chu et al. 2016", "ChuCVPR16", "OC", _CHU),
)
