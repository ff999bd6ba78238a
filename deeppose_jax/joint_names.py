"""What names of joints say: the side of the body, and the part.

Data sets write the same joint as "left_wrist", "l_wrist", "Left Wrist", "leftWrist", "LWrist", "wrist_l" or "wristL".
"""

import re
from collections.abc import Sequence

from engine_jax.errors import UserError

_SIDES = {"left": "left", "l": "left", "right": "right", "r": "right"}
# Where a name begins a new word: "leftWrist", "LWrist".
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_ALIASES = {
    "sho": "shoulder",
    "elb": "elbow",
    "wri": "wrist",
    "kne": "knee",
    "ank": "ankle",
    "upper_neck": "neck",
    "headtop": "head_top",
    "top_of_head": "head_top",
    "top_head": "head_top",
}


def side_and_part(name: str) -> tuple[str, str]:
    """The side that a joint's name tells ("left", "right" or "centre") and its part: "LWrist" is a left "wrist"."""
    words = [word for word in re.split(r"[^a-z0-9]+", _WORDS.sub("_", name).lower()) if word]
    side = "centre"
    for at in (0, -1):
        if len(words) > 1 and words[at] in _SIDES:
            side = _SIDES[words.pop(at)]
            break
    part = "_".join(words)
    return side, _ALIASES.get(part, part)


def swap_by_name(joints: Sequence[str]) -> tuple[int, ...]:
    """For every joint, the joint of the same part on the other side, or itself for one without a side.

    Raises:
        UserError: a joint of one side has none, or several, on the other.
    """
    known = [side_and_part(name) for name in joints]
    swap = []
    for joint, (side, part) in enumerate(known):
        if side == "centre":
            swap.append(joint)
            continue
        other = "right" if side == "left" else "left"
        if known.count((side, part)) > 1 or known.count((other, part)) != 1:
            raise UserError(
                f"joints: {joints[joint]!r} has no partner on the other side, or several; accepted: a left and a "
                "right name for each pair, or the pairs themselves"
            )
        swap.append(known.index((other, part)))
    return tuple(swap)


def swap_of_pairs(joints: Sequence[str], pairs: Sequence[Sequence[str]]) -> tuple[int, ...]:
    """For every joint, its partner in `pairs`, or itself for one that is in none.

    Raises:
        UserError: a pair isn't two different joints, or a joint is in several.
    """
    swap = list(range(len(joints)))
    for pair in pairs:
        ends = [list(joints).index(name) for name in pair if name in joints]
        if len(pair) != 2 or len(set(ends)) != 2:
            raise UserError(
                f"pairs: {tuple(pair)}; accepted: two different joints of {', '.join(joints)}"
            )
        if taken := [joints[end] for end in ends if swap[end] != end]:
            raise UserError(
                f"pairs: {taken[0]!r} is in several; accepted: each joint in one pair at most"
            )
        swap[ends[0]], swap[ends[1]] = ends[1], ends[0]
    return tuple(swap)
