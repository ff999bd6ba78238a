"""Synthetic figures: determinism, anatomy, and joints that lie where the picture shows them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeppose_jax.skeleton import LSP
from deeppose_jax.synthetic import body, figure, figures, render
from deeppose_jax.synthetic.camera import Camera
from deeppose_jax.synthetic.capsules import Light, draw
from deeppose_jax.synthetic.person import capsules, dress, sample_outfit
from engine_jax.errors import UserError

SIZE = 64
JOINT = {name: i for i, name in enumerate(LSP.joints)}


@pytest.fixture(scope="module")
def many():
    return figures(seed=3, count=400, size=SIZE)


def pose(**degrees):
    """The body of mean proportions at attention, but for the angles given."""
    angles = np.zeros(len(body.ANGLES), np.float32)
    for name, value in degrees.items():
        angles[body.ANGLES.index(name)] = value
    return jax.jit(body.pose_body)(angles, body.LENGTHS)


def test_arrays_are_what_a_pose_set_holds(many):
    assert many.canvases.shape == (400, SIZE, SIZE, 3)
    assert many.canvases.dtype == np.uint8
    assert many.joints.shape == (400, 14, 2)
    assert many.joints.dtype == np.float32
    assert many.labelled.shape == (400, 14)
    assert many.labelled.dtype == np.bool_
    np.testing.assert_array_equal(many.boxes, np.tile([-0.5, -0.5, 63.5, 63.5], (400, 1)))
    np.testing.assert_array_equal(many.to_image, np.tile([[1, 0, 0], [0, 1, 0]], (400, 1, 1)))
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(many))


def test_a_figure_depends_on_seed_and_index_only(many):
    some = figures(seed=3, count=21, size=SIZE, start=13)
    for all_leaf, some_leaf in zip(jax.tree.leaves(many), jax.tree.leaves(some), strict=True):
        np.testing.assert_array_equal(all_leaf[13:34], some_leaf)
    other = figures(seed=4, count=2, size=SIZE)
    assert not np.array_equal(other.joints, many.joints[:2])
    assert len(np.unique(many.joints[:, 0, 0])) == 400


def test_labelled_means_inside(many):
    x, y = many.joints[..., 0], many.joints[..., 1]
    inside = (x >= -0.5) & (x < SIZE - 0.5) & (y >= -0.5) & (y < SIZE - 0.5)
    np.testing.assert_array_equal(many.labelled, inside)
    assert np.isfinite(many.joints).all()
    assert 0.9 < inside.mean() < 1.0


def test_pictures_are_varied_and_people_large(many):
    extent = np.ptp(many.joints, axis=1).max(-1) / SIZE
    assert 0.6 < np.median(extent) < 0.9
    # No picture is empty, black or white.
    assert many.canvases.std((1, 2)).max(-1).min() > 5
    head_up = many.joints[:, JOINT["head_top"], 1] < many.joints[:, JOINT["right_hip"], 1]
    assert 0.8 < head_up.mean() < 0.97
    faces_camera = many.joints[:, 8, 0] < many.joints[:, 9, 0]
    assert 0.4 < faces_camera.mean() < 0.8


def test_the_mean_pose_scores_low(many):
    mean = many.joints[:300].mean(0)
    error = np.linalg.norm(many.joints[300:] - mean, axis=-1)
    torso = np.linalg.norm(many.joints[300:, 9] - many.joints[300:, 2], axis=-1)
    assert 0.02 < (error <= 0.2 * torso[:, None]).mean() < 0.15


@pytest.mark.parametrize(
    ("name", "value"), [("seed", -1), ("count", 0), ("size", 4), ("start", -16)]
)
def test_bad_arguments_are_named(name, value):
    arguments = {"seed": 0, "count": 1, "size": SIZE} | {name: value}
    with pytest.raises(UserError, match=rf"{name} is {value}"):
        figures(**arguments)


def test_attention_faces_the_camera():
    joints = np.asarray(pose().joints)
    # x is the person's left, which is the picture's right; y is down.
    expected = {
        "right_hip": (-0.095, 0, 0),
        "right_knee": (-0.095, 0.44, 0),
        "left_ankle": (0.095, 0.87, 0),
        "neck": (0, -0.5, 0),
        "head_top": (0, -0.78, 0),
        "right_shoulder": (-0.185, -0.47, 0),
        "left_wrist": (0.185, 0.09, 0),
    }
    for name, point in expected.items():
        np.testing.assert_allclose(joints[JOINT[name]], point, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("angle", "joint", "point"),
    [
        ("right_elbow", "right_wrist", (-0.185, -0.17, -0.26)),  # the forearm points forward
        ("left_knee", "left_ankle", (0.095, 0.44, 0.43)),  # the shin points back
        ("right_hip_flex", "right_knee", (-0.095, 0, -0.44)),  # the thigh points forward
        ("left_hip_abduct", "left_knee", (0.095 + 0.44, 0, 0)),  # outwards, to the left
        ("right_hip_abduct", "right_knee", (-0.095 - 0.44, 0, 0)),
        ("lean", "head_top", (0, 0, -0.78)),  # on the belly
        ("flex", "head_top", (0, -0.21 * 0.5**0.5, -0.57 - 0.21 * 0.5**0.5)),
        ("side", "head_top", (0.78, 0, 0)),
    ],
)
def test_a_right_angle_moves_a_joint_the_way_it_bends(angle, joint, point):
    moved = pose(**{angle: 90.0}).joints[JOINT[joint]]
    np.testing.assert_allclose(moved, point, atol=1e-6)


def test_poses_keep_to_limits_bones_and_symmetry():
    keys = jax.random.split(jax.random.key(0), 2000)
    u = np.random.default_rng(0).uniform(size=(2000, 26)).astype(np.float32)
    angles = np.asarray(jax.vmap(body.sample_angles)(u))
    for name, column in zip(body.ANGLES, angles.T, strict=True):
        low, high = body.LIMITS.get(name.removeprefix("left_").removeprefix("right_"), (-40, 230))
        if name not in ("lean", "side"):
            assert column.min() >= low - 1e-3, name
            assert column.max() <= high + 1e-3, name
    left, right = angles[:, 8:16].mean(0), angles[:, 16:].mean(0)
    np.testing.assert_allclose(left, right, atol=6)

    joints = np.asarray(jax.jit(jax.vmap(body.sample_body))(keys).joints)
    for start, stop, bone in [
        (0, 1, "shin"),
        (4, 3, "thigh"),
        (6, 7, "forearm"),
        (9, 10, "upper_arm"),
    ]:
        length = np.linalg.norm(joints[:, start] - joints[:, stop], axis=-1)
        assert np.abs(length / body.LENGTHS[bone] - 1).max() < 0.12 + 1e-4, bone
    for start, stop in [(0, 1), (1, 2), (6, 7), (7, 8)]:
        right = np.linalg.norm(joints[:, start] - joints[:, stop], axis=-1)
        left = np.linalg.norm(joints[:, LSP.swap[start]] - joints[:, LSP.swap[stop]], axis=-1)
        np.testing.assert_allclose(right, left, atol=1e-5)


def test_only_a_person_who_faces_the_camera_shows_a_face():
    outfit = sample_outfit(jax.random.key(1))
    white, black = jnp.ones(3), jnp.zeros(3)
    outfit = outfit._replace(skin=white, hair=black, shirt=black, stripe=black, panel=black)
    light = Light(jnp.array([0.0, 0.0, -1.0]), jnp.zeros(3), jnp.ones(3))
    camera = Camera(jnp.float32(400.0), jnp.array([32.0, 100.0]))

    @jax.jit
    def paint(person, outfit):
        return draw(jnp.zeros((3, 64, 64)), capsules(dress(person, outfit), camera), light)

    shown = {}
    for yaw in (0.0, 180.0):
        turn = body.rotation("y", jnp.float32(yaw))
        person = body.move(pose(), turn, jnp.array([0.0, 0.0, 4.0]))
        top = camera.project(person.joints)[JOINT["head_top"]]
        np.testing.assert_allclose(top, [32.0, 100 - 78], atol=1e-3)
        drawn = paint(person, outfit)
        shown[yaw] = np.asarray(drawn)[0, 22:46, 20:44].mean()
        # Person-centric: from the front the right shoulder is on the picture's left.
        shoulders = camera.project(person.joints)[8:10, 0]
        assert (shoulders[0] < shoulders[1]) == (yaw == 0.0)
    assert shown[0.0] > 4 * shown[180.0]
    assert shown[0.0] > 0.1


# Where `dress` puts a limb: 6 parts of the trunk, 5 of the head, then for the right and the left side
# upper arm, forearm, hand, thigh, shin, foot.
LIMB_PARTS = {
    (8, 7): 11,
    (7, 6): 12,
    (2, 1): 14,
    (1, 0): 15,
    (9, 10): 17,
    (10, 11): 18,
    (3, 4): 20,
    (4, 5): 21,
}


def test_a_limb_is_painted_between_its_joints(monkeypatch):
    """Repaints one limb: the pixels that change lie along the stick between that limb's joints."""

    @jax.jit
    def repaint(keys, part, colour):
        def painted(*args):
            parts = dress(*args)
            look = parts.look._replace(
                cloth=parts.look.cloth.at[part].set(colour),
                stripe=parts.look.stripe.at[part].set(colour),
                bare=parts.look.bare.at[part].set(colour),
            )
            return parts._replace(look=look)

        with monkeypatch.context() as patch:
            patch.setattr(figure, "dress", painted)
            return jax.vmap(lambda key: render(key, SIZE))(keys)

    keys = jax.random.split(jax.random.key(7), 12)
    y, x = np.mgrid[:SIZE, :SIZE]
    for (start, stop), part in LIMB_PARTS.items():
        red = repaint(keys, part, jnp.array([1.0, 0.0, 0.0]))
        blue = repaint(keys, part, jnp.array([0.0, 0.0, 1.0]))
        changed = np.abs(np.int32(red.image) - np.int32(blue.image)).max(-1) > 40
        assert (changed.sum((1, 2)) > 8).mean() > 0.5  # elsewhere it is hidden
        for mask, joints in zip(changed, np.asarray(red.joints), strict=True):
            a, b = joints[start], joints[stop]
            points = np.stack([x[mask], y[mask]], -1)
            along = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
            away = np.linalg.norm(points - a - along[:, None] * (b - a), axis=-1)
            # A thigh in wide trousers is 0.13 m thick from its axis; a torso is about 0.55 m.
            reach = 0.35 * max(np.linalg.norm(joints[12] - (joints[2] + joints[3]) / 2), 12) + 1.5
            assert (away < reach).all(), (start, stop)
