"""Skeletons of well-known data sets, and a skeleton from the names of its joints.

LSP's 14 joints are `deeppose_jax.skeleton.LSP`.
"""

from collections.abc import Mapping, Sequence

from deeppose_jax.joint_names import side_and_part, swap_by_name, swap_of_pairs
from deeppose_jax.skeleton import LSP, Skeleton, Stick, check_names
from engine_jax.errors import UserError

# The sticks of a side, in the order along its limb, by the parts at their ends.
_LEG = (("lower_leg", "ankle", "knee"), ("upper_leg", "knee", "hip"))
_ARM = (("lower_arm", "wrist", "elbow"), ("upper_arm", "elbow", "shoulder"))
_SIX = ("torso", "upper_leg", "lower_leg", "upper_arm", "lower_arm", "head")
_FOUR = _SIX[1:5]
# Joints that are one row of PDJ, and the rows' order.
_HEAD = ("nose", "eye", "ear", "neck", "head", "head_top")
_ROWS = ("head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")


def make_skeleton(
    joints: Sequence[str],
    limbs: Sequence[tuple[int, int]] = (),
    pairs: Sequence[Sequence[str]] = (),
    sigmas: Sequence[float] | None = None,
) -> Skeleton:
    """A skeleton from its joints' names, which tell left and right, and what PCP, PDJ and PCKh can be measured on.

    Arms and legs are known by the names shoulder, elbow, wrist, hip, knee and ankle, the head by neck and head top,
    with their sides as `joint_names` reads them. A skeleton without them trains and predicts as well, and the scores
    that need them are null.

    Args:
        joints: the names of the joints.
        limbs: the pairs of joints, by index, that drawings connect; by default the arms, legs and head by their names.
        pairs: the left and right joints, by name; by default they are found by the names.
        sigmas: see `Skeleton`.

    Raises:
        UserError: the skeleton contradicts itself, or a left joint has no right one.
    """
    check_names(joints)
    known = [side_and_part(name) for name in joints]
    # The first joint of a side and part; where a data set has several, only one can be the end of a stick.
    at = {key: i for i, key in reversed(list(enumerate(known)))}
    sticks = _sticks(at)
    parts = {stick.part for stick in sticks}
    limb_parts = tuple(part for part in _FOUR if part in parts)
    part_groups: dict[str, tuple[str, ...]] = {}
    if parts >= set(_SIX):
        part_groups["six_parts"] = _SIX
    if limb_parts:
        part_groups["four_limbs" if limb_parts == _FOUR else "limbs"] = limb_parts
    torso = (at.get(("left", "shoulder")), at.get(("right", "hip")))
    head = (at.get(("centre", "neck")), at.get(("centre", "head_top")))
    limbs = limbs or [(s.start[0], s.stop[0]) for s in sticks if s.part != "torso"]
    count = "ten" if len(sticks) == 10 else "all"
    for limb in limbs:
        if not all(0 <= joint < len(joints) for joint in limb):
            raise UserError(
                f"limbs: {tuple(limb)}; accepted: indices of {len(joints)} joints, 0 to {len(joints) - 1}"
            )
    return Skeleton(
        joints=tuple(joints),
        sticks=sticks,
        limbs=tuple((a, b, _side(known[a][0], known[b][0])) for a, b in limbs),
        swap=swap_of_pairs(joints, pairs) if pairs else swap_by_name(joints),
        torso=_both(torso),
        joint_groups=_rows(joints),
        part_groups=part_groups,
        stick_groups={f"{count}_sticks": tuple(range(len(sticks)))} if sticks else {},
        head=_both(head),
        sigmas=None if sigmas is None else tuple(sigmas),
    )


def _sticks(at: Mapping[tuple[str, str], int]) -> tuple[Stick, ...]:
    """Legs, arms, head and torso, as far as their joints are there."""
    found = []
    for limb in (_LEG, _ARM):
        for side, order in (("right", limb), ("left", limb[::-1])):
            for part, outer, inner in order:
                ends = (outer, inner) if side == "right" else (inner, outer)
                if all((side, end) in at for end in ends):
                    start, stop = ((at[side, end],) for end in ends)
                    found.append(Stick(part, start, stop))
    if ("centre", "neck") in at and ("centre", "head_top") in at:
        found.append(Stick("head", (at["centre", "neck"],), (at["centre", "head_top"],)))
    girdles = [
        tuple(sorted(at[side, part] for side in ("left", "right") if (side, part) in at))
        for part in ("hip", "shoulder")
    ]
    if all(len(girdle) == 2 for girdle in girdles):
        found.append(Stick("torso", *girdles))
    return tuple(found)


def _rows(joints: Sequence[str]) -> dict[str, tuple[int, ...]]:
    rows: dict[str, list[int]] = {name: [] for name in _ROWS}
    for i, name in enumerate(joints):
        part = side_and_part(name)[1]
        rows.setdefault("head" if part in _HEAD else part, []).append(i)
    return {name: tuple(members) for name, members in rows.items() if members}


def _side(first: str, second: str) -> str:
    sides = {first, second} - {"centre"}
    return sides.pop() if len(sides) == 1 else "centre"


def _both(ends: tuple[int | None, int | None]) -> tuple[int, int] | None:
    start, stop = ends
    return None if start is None or stop is None else (start, stop)


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
