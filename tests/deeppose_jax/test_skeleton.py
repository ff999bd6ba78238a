"""Skeletons that contradict themselves."""

from dataclasses import replace

import pytest

from deeppose_jax.skeleton import LSP, Stick
from engine_jax.errors import UserError


def swapped(changes):
    return tuple(changes.get(i, partner) for i, partner in enumerate(LSP.swap))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"swap": LSP.swap[:-1]}, r"swap: .*swap\[swap\[i\]\] is i"),
        ({"swap": swapped({0: 4})}, r"swap: .*swap\[swap\[i\]\] is i"),
        ({"swap": swapped({12: 14})}, r"swap: .*accepted: indices of 14 joints, 0 to 13"),
        ({"swap": swapped({12: -2})}, r"swap: .*0 to 13"),
        ({"torso": (9, 14)}, r"torso: \(9, 14\); accepted: indices of 14 joints, 0 to 13"),
        ({"limbs": ((0, 14, "left"),)}, r"limbs: \[0, 14\]"),
        ({"sticks": (Stick("torso", (2, 3), (8, 14)),)}, r"sticks: \[2, 3, 8, 14\]"),
        ({"joint_groups": {"head": (12, 20)}}, r"joint_groups: \[12, 20\]"),
        ({"joints": (*LSP.joints[:-1], "neck")}, "'neck' stands twice"),
        ({"limbs": ((3, 3, "left"),)}, r"limbs: \(3, 3, 'left'\)"),
        ({"limbs": ((0, 1, "port"),)}, "one of left, right, centre"),
        ({"torso": (9, 9)}, r"torso: \(9, 9\)"),
        ({"head": (12, 14)}, r"head: \(12, 14\)"),
        ({"head": (12, 12)}, r"head: \(12, 12\)"),
        ({"sticks": (*LSP.sticks[:9], Stick("torso", (), (8,)))}, "one or more joints at each"),
        ({"part_groups": {"legs": ("tail",)}}, "'legs' has 'tail'"),
        ({"stick_groups": {"some": (10,)}}, "indices of 10 sticks"),
        ({"sigmas": (0.1,) * 13}, "sigmas: .*14 positive numbers"),
        ({"sigmas": (0.0,) * 14}, "sigmas: .*14 positive numbers"),
    ],
)
def test_skeletons_that_contradict_themselves_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        replace(LSP, **changes)


def test_the_torsos_diagonals_are_mirror_images():
    left_to_right, right_to_left = LSP.torso_diagonals
    assert [LSP.joints[i] for i in left_to_right] == ["left_shoulder", "right_hip"]
    assert [LSP.joints[i] for i in right_to_left] == ["right_shoulder", "left_hip"]
