"""Skeletons: the joints that a model regresses, and how they are connected, as the joints' names tell.

Joint coordinates are (x, y) in pixels everywhere in this package, x to the right, y down, and
(0, 0) is the centre of the image's top left pixel.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from deeppose_jax.joint_names import side_and_part, swap_by_name, swap_of_pairs
from engine_jax.errors import UserError

# A stick's end: one joint, or several whose mean it is.
End = tuple[int, ...]
SIDES = ("left", "right", "centre")

# The sticks of a side, in the order along its limb, by the parts at their ends.
_LEG = (("lower_leg", "ankle", "knee"), ("upper_leg", "knee", "hip"))
_ARM = (("lower_arm", "wrist", "elbow"), ("upper_arm", "elbow", "shoulder"))
_SIX = ("torso", "upper_leg", "lower_leg", "upper_arm", "lower_arm", "head")
_FOUR = _SIX[1:5]
# Joints that are one row of PDJ, and the rows' order.
_HEAD = ("nose", "eye", "ear", "neck", "head", "head_top")
_ROWS = ("head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")


@dataclass(frozen=True)
class Stick:
    """A body part between two ends, each the mean of the joints named."""

    part: str
    start: End
    stop: End


@dataclass(frozen=True, eq=False)  # Compared as a whole, so that jit can hash it.
class Skeleton:
    """Joints, sticks and symmetry of one annotation scheme.

    `deeppose_jax.skeletons` has those of well-known data sets, and makes one from names of joints.

    Attributes:
        joints: the k joint names, in the data set's order.
        sticks: the body parts on which PCP is measured; none where there are no such parts.
        limbs: pairs of joints to draw, each with its side ("left", "right" or "centre").
        swap: for every joint, the joint that it becomes in a mirrored image.
        torso: the two opposing torso joints whose distance is the paper's diam(y), and PDJ's reference length; None
            where there is no torso.
        joint_groups: rows of PDJ and PCKh, left and right joints together.
        part_groups: the parts that PCP's averages are over.
        stick_groups: averages over single sticks instead, by their index in `sticks`.
        head: the ends of the head segment, PCKh's reference length; None where there is none.
        sigmas: each joint's standard deviation in OKS; None takes those of `deeppose_jax.oks` by the joints' names.

    Raises:
        UserError: no joints or a name that stands twice, indices out of range, a `swap` that doesn't pair joints, a
            limb, torso or head of a single joint, an unknown side, or groups of what isn't there.
    """

    joints: tuple[str, ...]
    sticks: tuple[Stick, ...]
    limbs: tuple[tuple[int, int, str], ...]
    swap: tuple[int, ...]
    torso: tuple[int, int] | None
    joint_groups: Mapping[str, tuple[int, ...]]
    part_groups: Mapping[str, tuple[str, ...]]
    stick_groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    head: tuple[int, int] | None = None
    sigmas: tuple[float, ...] | None = None

    def __post_init__(self):
        check_names(self.joints)
        segments = [(name, getattr(self, name)) for name in ("torso", "head")]
        segments = [(name, ends) for name, ends in segments if ends is not None]
        named = {
            "swap": self.swap,
            **dict(segments),
            "limbs": [joint for start, stop, _ in self.limbs for joint in (start, stop)],
            "sticks": [joint for stick in self.sticks for joint in (*stick.start, *stick.stop)],
            "joint_groups": [joint for group in self.joint_groups.values() for joint in group],
        }
        k = self.num_joints
        for name, joints in named.items():
            if not all(0 <= joint < k for joint in joints):
                raise UserError(f"{name}: {joints}; accepted: indices of {k} joints, 0 to {k - 1}")
        if len(self.swap) != k or any(self.swap[self.swap[i]] != i for i in range(k)):
            raise UserError(
                f"swap: {self.swap}; accepted: {k} indices in which swap[swap[i]] is i for every joint i"
            )
        for name, (start, stop) in segments:
            if start == stop:
                raise UserError(f"{name}: ({start}, {stop}); accepted: two different joints")
        for start, stop, side in self.limbs:
            if start == stop or side not in SIDES:
                raise UserError(
                    f"limbs: ({start}, {stop}, {side!r}); accepted: two different joints and one of {', '.join(SIDES)}"
                )
        self._check_groups()

    def _check_groups(self) -> None:
        parts = {stick.part for stick in self.sticks}
        for stick in self.sticks:
            if not (stick.start and stick.stop) or set(stick.start) == set(stick.stop):
                raise UserError(
                    f"sticks: {stick}; accepted: one or more joints at each of two ends"
                )
        for name, members in self.part_groups.items():
            if unknown := [part for part in members if part not in parts]:
                raise UserError(
                    f"part_groups: {name!r} has {unknown[0]!r}; accepted: {', '.join(sorted(parts)) or 'no parts'}"
                )
        for name, members in self.stick_groups.items():
            if not all(0 <= stick < len(self.sticks) for stick in members):
                raise UserError(
                    f"stick_groups: {name!r} has {members}; accepted: indices of {len(self.sticks)} sticks"
                )
        if self.sigmas is not None and (
            len(self.sigmas) != self.num_joints or not all(0 < s < math.inf for s in self.sigmas)
        ):
            raise UserError(
                f"sigmas: {self.sigmas}; accepted: {self.num_joints} positive numbers, one for each joint"
            )

    @property
    def num_joints(self) -> int:
        return len(self.joints)

    @property
    def mirrored(self) -> bool:
        """Whether some joints are left and right of one another."""
        return any(partner != joint for joint, partner in enumerate(self.swap))

    @property
    def limb_parts(self) -> str | None:
        """The group of parts whose mean stands for PCP: "four_limbs", or else the first; None without any."""
        return (
            "four_limbs" if "four_limbs" in self.part_groups else next(iter(self.part_groups), None)
        )

    @property
    def torso_diagonals(self) -> tuple[tuple[int, int], ...]:
        """`torso` and the pair that it becomes in a mirrored image; none without a torso."""
        if self.torso is None:
            return ()
        a, b = self.torso
        return (a, b), (self.swap[a], self.swap[b])


def check_names(joints: Sequence[str]) -> None:
    """Raises a UserError if there are no joints, or a name is empty or stands twice."""
    if not joints:
        raise UserError("joints: none; accepted: at least one name")
    if not all(isinstance(name, str) and name.strip() for name in joints):
        raise UserError(f"joints: {list(joints)}; accepted: names")
    if twice := sorted({name for name in joints if joints.count(name) > 1}):
        raise UserError(f"joints: {twice[0]!r} stands twice; accepted: a name for each joint")


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


# Leeds Sports Pose (Johnson and Everingham, BMVC 2010), in the order of its joints.mat.
LSP = make_skeleton(
    (
        *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
        *("right_wrist", "right_elbow", "right_shoulder"),
        *("left_shoulder", "left_elbow", "left_wrist", "neck", "head_top"),
    ),
    limbs=(
        *((0, 1), (1, 2), (2, 8), (6, 7), (7, 8), (8, 12)),
        *((5, 4), (4, 3), (3, 9), (11, 10), (10, 9), (9, 12), (12, 13)),
    ),
)


def observer_centric(
    joints: Float[np.ndarray, "n k 2"], skeleton: Skeleton
) -> Float[np.ndarray, "n k 2"]:
    """Poses with left and right as a viewer sees them: the right hip or shoulder is left of the left one.

    Legs are renamed as a whole by the hips, arms by the shoulders. Of LSP's 2,000 observer-centric labels 93 % follow
    this rule at the hips and 92 % at the shoulders.

    Raises:
        UserError: the skeleton has no "left_hip" or another of these four joints.
    """
    ends = [f"{side}_{girdle}" for girdle in ("hip", "shoulder") for side in ("left", "right")]
    if missing := [name for name in ends if name not in skeleton.joints]:
        raise UserError(
            f"observer-centric: no joint {missing[0]!r}; accepted: a skeleton with {', '.join(ends)}"
        )
    joints = np.asarray(joints)
    renamed = joints.copy()
    for girdle, limb in (
        ("hip", ("hip", "knee", "ankle")),
        ("shoulder", ("shoulder", "elbow", "wrist")),
    ):
        right, left = (skeleton.joints.index(f"{side}_{girdle}") for side in ("right", "left"))
        members = [i for i, name in enumerate(skeleton.joints) if name.endswith(limb)]
        partners = [skeleton.swap[i] for i in members]
        crossed = joints[:, right, 0] > joints[:, left, 0]
        renamed[:, members] = np.where(
            crossed[:, None, None], joints[:, partners], joints[:, members]
        )
    return renamed
