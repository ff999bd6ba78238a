from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from deeppose_jax.plots import skeletons
from deeppose_jax.skeleton import LSP, make_skeleton
from tests.deeppose_jax.poses import limbs, some_poses

RIGHT_KNEE = 1


def empty_axes() -> Axes:
    ax = Figure().add_subplot()
    ax.set(xlim=(0, 64), ylim=(64, 0))
    return ax


def test_limb_colours_are_warm_on_the_right_and_cool_on_the_left():
    colours = skeletons.limb_colours(LSP)
    by_limb = {}
    for (start, stop, side), colour in zip(LSP.limbs, colours, strict=True):
        red, _, blue = to_rgb(colour)
        if side != "centre":
            assert (red > blue) == (side == "right")
        by_limb[start, stop] = colour
    arm, trunk, leg = by_limb[6, 7], by_limb[2, 8], by_limb[0, 1]
    assert arm == by_limb[7, 8]
    assert leg == by_limb[1, 2]
    assert len({arm, trunk, leg}) == 3


def test_a_joint_has_the_side_of_its_limbs():
    sides = dict(zip(LSP.joints, skeletons.joint_sides(LSP), strict=True))
    assert sides.pop("neck") == sides.pop("head_top") == "centre"
    assert all(name.startswith(side) for name, side in sides.items())
    few = replace(LSP, limbs=((0, 1, "left"), (1, 2, "right")))
    assert skeletons.joint_sides(few) == ["left", "centre", "right"] + ["centre"] * 11


def test_skeleton_draws_each_limb_between_its_joints():
    ax, joints = empty_axes(), some_poses(1)[0]
    skeletons.draw_skeleton(ax, joints, np.ones(14, bool), LSP)
    drawn = limbs(ax)
    assert len(drawn) == 13
    for line, (start, stop, _), colour in zip(
        drawn, LSP.limbs, skeletons.limb_colours(LSP), strict=True
    ):
        np.testing.assert_array_equal(line.get_xydata(), joints[[start, stop]])
        assert line.get_color() == colour
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 64), (64, 0))


@pytest.mark.parametrize("how", ["unlabelled", "not finite"])
def test_skeleton_leaves_out_unknown_joints_and_their_limbs(how):
    ax, joints, labelled = empty_axes(), some_poses(1)[0], np.ones(14, bool)
    knee = joints[RIGHT_KNEE].copy()
    if how == "unlabelled":
        labelled[RIGHT_KNEE] = False
    else:
        joints[RIGHT_KNEE] = np.nan
    skeletons.draw_skeleton(ax, joints, labelled, LSP)
    assert len(limbs(ax)) == 13 - 2
    points = np.concatenate([line.get_xydata() for line in ax.lines])
    assert np.isfinite(points).all()
    assert not (points == knee).all(-1).any()
    (dots,) = (line for line in ax.lines if line.get_linestyle() == "None")
    assert len(dots.get_xdata()) == 13


def test_skeleton_of_one_colour_has_no_dots():
    ax = empty_axes()
    skeletons.draw_skeleton(
        ax, some_poses(1)[0], np.ones(14, bool), LSP, colour="white", style="--"
    )
    assert [to_hex(line.get_color()) for line in ax.lines] == ["#ffffff"] * 13


def test_skeleton_of_another_size_is_an_error():
    with pytest.raises(ValueError, match=r"joints \(16, 2\).*takes \(14, 2\)"):
        skeletons.draw_skeleton(empty_axes(), np.zeros((16, 2)), np.ones(16, bool), LSP)


def test_joints_without_limbs_have_a_ring():
    ax, joints = empty_axes(), some_poses(1)[0, :3]
    points = make_skeleton(("a", "b", "c"), [(0, 1)])
    known = np.array([True, True, True])
    skeletons.draw_skeleton(ax, joints, known, points, colour="white", style="--")
    limb, ring = ax.lines
    np.testing.assert_array_equal(limb.get_xydata(), joints[:2])
    np.testing.assert_array_equal(ring.get_xydata(), joints[2:])
    assert ring.get_markerfacecolor() == "none"
