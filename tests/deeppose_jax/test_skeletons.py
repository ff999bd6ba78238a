"""Skeletons of data sets, by names of joints, and as JSON."""

import json
from dataclasses import replace

import pytest

from deeppose_jax import COCO, FLIC, LSP, MPII, load, make_skeleton, save
from deeppose_jax.joint_names import side_and_part, swap_by_name
from deeppose_jax.skeleton import Stick
from deeppose_jax.skeleton_file import (
    check_skeleton,
    from_json,
    read_skeleton,
    to_json,
    write_skeleton,
)
from engine_jax.errors import UserError
from tests.deeppose_jax.cascades import random_cascade


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("left_wrist", ("left", "wrist")),
        ("r_ankle", ("right", "ankle")),
        ("Left Eye", ("left", "eye")),
        ("leftWrist", ("left", "wrist")),
        ("RElb", ("right", "elbow")),
        ("wristL", ("left", "wrist")),
        ("shoulder-right", ("right", "shoulder")),
        ("upper neck", ("centre", "neck")),
        ("headTop", ("centre", "head_top")),
        ("leftmost", ("centre", "leftmost")),
        ("l", ("centre", "l")),
    ],
)
def test_a_name_tells_side_and_part(name, expected):
    assert side_and_part(name) == expected


def test_lsps_skeleton_follows_from_its_joints_names():
    assert LSP.sticks == (
        Stick("lower_leg", (0,), (1,)),
        Stick("upper_leg", (1,), (2,)),
        Stick("upper_leg", (3,), (4,)),
        Stick("lower_leg", (4,), (5,)),
        Stick("lower_arm", (6,), (7,)),
        Stick("upper_arm", (7,), (8,)),
        Stick("upper_arm", (9,), (10,)),
        Stick("lower_arm", (10,), (11,)),
        Stick("head", (12,), (13,)),
        Stick("torso", (2, 3), (8, 9)),
    )
    assert LSP.swap == (5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13)
    assert (LSP.torso, LSP.head, LSP.sigmas) == ((9, 2), (12, 13), None)
    assert [side for *_, side in LSP.limbs] == 6 * ["right"] + 6 * ["left"] + ["centre"]
    assert list(LSP.joint_groups.items()) == [
        ("head", (12, 13)),
        ("shoulder", (8, 9)),
        ("elbow", (7, 10)),
        ("wrist", (6, 11)),
        ("hip", (2, 3)),
        ("knee", (1, 4)),
        ("ankle", (0, 5)),
    ]
    assert list(LSP.part_groups.items()) == [
        ("six_parts", ("torso", "upper_leg", "lower_leg", "upper_arm", "lower_arm", "head")),
        ("four_limbs", ("upper_leg", "lower_leg", "upper_arm", "lower_arm")),
    ]
    assert LSP.stick_groups == {"ten_sticks": tuple(range(10))}


@pytest.mark.parametrize(
    ("skeleton", "count", "pairs", "parts", "torso", "head"),
    [
        (COCO, 17, 8, {"four_limbs"}, ("left_shoulder", "right_hip"), None),
        (MPII, 16, 6, {"six_parts", "four_limbs"}, ("left_shoulder", "right_hip"), True),
        (FLIC, 11, 5, {"limbs"}, ("left_shoulder", "right_hip"), None),
    ],
)
def test_well_known_skeletons(skeleton, count, pairs, parts, torso, head):
    assert skeleton.num_joints == count
    assert sum(partner != joint for joint, partner in enumerate(skeleton.swap)) == 2 * pairs
    assert skeleton.part_groups.keys() == parts
    assert tuple(skeleton.joints[i] for i in skeleton.torso) == torso
    assert (skeleton.head is not None) == bool(head)
    for start, stop, side in skeleton.limbs:
        for joint in (start, stop):
            assert skeleton.joints[joint].split("_")[0] in (side, *_CENTRAL) or side == "centre"
    # Every joint is in one row of the tables.
    rows = [joint for row in skeleton.joint_groups.values() for joint in row]
    assert sorted(rows) == list(range(count))


_CENTRAL = ("nose", "pelvis", "thorax", "upper")


def test_arms_legs_and_head_are_drawn_where_no_limbs_are_given():
    made = make_skeleton(LSP.joints)
    assert len(made.limbs) == 9
    assert {frozenset(limb[:2]) for limb in made.limbs} < {
        frozenset(limb[:2]) for limb in LSP.limbs
    }
    assert make_skeleton(("port", "bow")).limbs == ()


def test_a_skeleton_of_anything_has_neither_torso_nor_sticks():
    hand = make_skeleton(("thumb", "index", "l_edge", "r_edge"), [(0, 1), (1, 2)])
    assert (hand.torso, hand.head, hand.sticks, hand.limb_parts) == (None, None, (), None)
    assert hand.swap == (0, 1, 3, 2)
    assert hand.joint_groups == {"thumb": (0,), "index": (1,), "edge": (2, 3)}


def test_pairs_by_name_or_given():
    with pytest.raises(UserError, match="'left_paw' has no partner"):
        swap_by_name(("left_paw", "tail"))
    names = ("port", "starboard", "bow")
    assert make_skeleton(names).mirrored is False
    assert make_skeleton(names, pairs=[("port", "starboard")]).swap == (1, 0, 2)
    for pairs, said in (
        ([("port", "stern")], "two different joints of port"),
        ([("port", "port")], "two different joints"),
        ([("port", "starboard"), ("bow", "port")], "'port' is in several"),
    ):
        with pytest.raises(UserError, match=said):
            make_skeleton(names, pairs=pairs)


def test_skeletons_of_names_that_contradict_themselves_are_refused():
    for joints, limbs, said in (
        ((), (), "joints: none"),
        (("a", "a"), (), "'a' stands twice"),
        (("a", ""), (), "accepted: names"),
        (("a", "b"), ((0, 2),), r"limbs: \(0, 2\); accepted: indices of 2 joints"),
        (("a", "b"), ((1, 1),), r"limbs: \(1, 1, 'centre'\); accepted: two different joints"),
    ):
        with pytest.raises(UserError, match=said):
            make_skeleton(joints, limbs)


@pytest.mark.parametrize("skeleton", [LSP, COCO, replace(FLIC, sigmas=(0.05,) * 11)])
def test_json_gives_the_skeleton_back(skeleton, tmp_path):
    stored = json.loads(json.dumps(to_json(skeleton)))
    assert to_json(from_json(stored, "x")) == to_json(skeleton)
    assert read_skeleton(tmp_path) is LSP
    write_skeleton(tmp_path, skeleton)
    assert to_json(read_skeleton(tmp_path)) == to_json(skeleton)
    check_skeleton(tmp_path, skeleton)
    other = replace(skeleton, joints=(*skeleton.joints[:-1], "tail"))
    with pytest.raises(UserError, match="a run of another skeleton"):
        check_skeleton(tmp_path, other)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"swap": [1, 0]}, "swap"),
        ({"sticks": [{"part": "arm"}]}, "no skeleton"),
        ({"limbs": [["a", "b", "left"]]}, "not indices"),
        ({"torso": 3}, "no skeleton"),
        ({"joint_groups": []}, "no skeleton"),
        ({"shape": 1}, "accepted: an object with"),
    ],
)
def test_damaged_skeletons_are_one_line(change, said):
    with pytest.raises(UserError, match=f"^run/skeleton.json: .*{said}"):
        from_json({**to_json(COCO), **change}, "run/skeleton.json")


def test_a_models_file_holds_its_skeleton(tmp_path):
    model = random_cascade("shared", FLIC)
    save(model, tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert to_json(loaded.skeleton) == to_json(FLIC)
    assert loaded.cascade.skeleton is loaded.skeleton
